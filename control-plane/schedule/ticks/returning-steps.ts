import { LOAN_MARK, type Loan, type LoanPhase, loanName } from '../../core/loans.ts'
import { type LendingDeps, RESERVED, type Step } from './lending-steps.ts'

type Returning = Exclude<LoanPhase, 'snapshot' | 'copy' | 'make' | 'reserve' | 'connect' | 'work'>

/** Of a volume that a client may have attached by now, which is nobody's to delete. */
const TAKEN = ['in-use', 'detaching', 'maintenance', ...RESERVED]

/** Gives back what was lent, whatever of it there is. */
export function returning({ store, service }: Pick<LendingDeps, 'store' | 'service'>): Record<Returning, Step> {
  const copiesOf = ({ id, project }: Loan) => service.volumesNamed(project, loanName(id))

  /** The volume that a client asked for: the one that the service named, or the one that it made without being heard. */
  async function wanted({ id, project, volumeId }: Loan) {
    if (volumeId === null) return service.volumesMarked(project, { name: LOAN_MARK, value: id })
    const volume = await service.volume(project, volumeId)
    return volume === undefined ? [] : [volume]
  }

  const gone = async (loan: Loan) => {
    await store.drop(loan)
    return undefined
  }

  return {
    async disconnect(loan) {
      const { project, kind, host, initiator } = loan
      if (host !== null && initiator !== null) {
        const volumes = kind === 'read' ? await copiesOf(loan) : await wanted(loan)
        for (const { id } of volumes) await service.disconnect(project, id, { host, initiator })
      }
      await store.disconnected(loan, kind === 'read' ? 'drop-copy' : 'release')
      return undefined
    },

    async release(loan) {
      const { project, initiator, failReason } = loan
      for (const { id, status } of await wanted(loan)) {
        // Else somebody else has reserved it.
        if (RESERVED.includes(status) && initiator !== null) await service.unreserve(project, id)
      }
      if (failReason === null) return gone(loan)
      await store.turn(loan, 'drop-volume')
      return undefined
    },

    async 'drop-volume'(loan) {
      const left = (await wanted(loan)).filter(({ status }) => !TAKEN.includes(status))
      if (left.length === 0) return gone(loan)
      for (const { id, status } of left) if (status !== 'deleting') await service.deleteVolume(loan.project, id)
      return 'wait'
    },

    async 'drop-copy'(loan) {
      const left = await copiesOf(loan)
      for (const { id, status } of left) if (status !== 'deleting') await service.deleteVolume(loan.project, id)
      if (left.length > 0) return 'wait'
      await store.turn(loan, 'drop-snapshot')
      return undefined
    },

    async 'drop-snapshot'(loan) {
      if (loan.snapshotId !== null) return gone(loan)
      const left = await service.snapshotsNamed(loan.project, loanName(loan.id))
      if (left.length === 0) return gone(loan)
      for (const { id, status } of left) {
        if (status !== 'deleting') await service.deleteSnapshot(loan.project, id)
      }
      return 'wait'
    },
  }
}
