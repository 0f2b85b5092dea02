import { FleetError } from '../../../shared/errors.ts'
import { isTerminal } from '../../../shared/job-machine.ts'
import { type Caller, SYSTEM_CALLER } from '../../core/caller.ts'
import type { FleetView } from '../../core/fleet-view.ts'
import type { LendingService, LentVolume, LunInitiator } from '../../core/lending.ts'
import { LOAN_MARK, type Loan, type LoanPhase, type LoanStore, loanName } from '../../core/loans.ts'
import { anyLunHost, lunInitiator } from '../../core/lun-hosts.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { backupSeries } from '../../core/volume-backup-state.ts'
import type { VolumeBackupInfo, VolumeBackupStore } from '../../core/volume-backups.ts'

export interface LendingDeps {
  readonly store: LoanStore
  readonly service: LendingService
  readonly backups: Pick<VolumeBackupStore, 'find'>
  readonly points: Pick<PointOrders, 'order' | 'writeLun'>
  readonly fleet: FleetView
}

/** `wait`: not yet. Otherwise the loan is in another phase by now, or gone. */
export type Step = (loan: Loan) => Promise<'wait' | undefined>

/** What a reserved volume is called, by one service or another. */
export const RESERVED = ['attaching', 'reserved']

type Borrowing = 'snapshot' | 'copy' | 'make' | 'reserve' | 'connect' | 'work'

/** All that comes before a host has read or written, and that itself. Each looks for what an earlier try has made before it makes it. */
export function borrowing(deps: LendingDeps): Record<Borrowing, Step> {
  const { store, service, backups, points, fleet } = deps

  const turn = async (loan: Loan, to: LoanPhase) => {
    await store.turn(loan, to)
    return undefined
  }

  /** @throws conflict: nobody wants it any more. */
  async function backupOf({ groupId, backupId }: Loan): Promise<VolumeBackupInfo> {
    const backup = await backups.find(groupId, backupId)
    if (backup !== undefined && backup.status !== 'deleting') return backup
    throw new FleetError('conflict', 'the backup was deleted meanwhile')
  }

  async function snapshotOf(loan: Loan) {
    const { id, project, snapshotId } = loan
    if (snapshotId !== null) return service.snapshot(project, snapshotId)
    return (await service.snapshotsNamed(project, loanName(id)))[0]
  }

  /** Who logs in, the same one at every try. */
  async function chosen(loan: Loan): Promise<LunInitiator> {
    const host = loan.host ?? anyLunHost(fleet, false).name
    const who = lunInitiator(fleet, host)
    if (loan.initiator !== null && loan.initiator !== who.initiator) {
      // Its agent has another name by now: whoever was let in before is not any more.
      const volume = await volumeOf(loan)
      await service.disconnect(loan.project, volume.id, { host, initiator: loan.initiator })
    }
    await store.choose(loan, who)
    return who
  }

  /** @throws conflict: it is gone. */
  async function volumeOf(loan: Loan): Promise<LentVolume> {
    const { id, project, kind, volumeId } = loan
    const found =
      kind === 'read'
        ? (await service.volumesNamed(project, loanName(id)))[0]
        : volumeId === null
          ? undefined
          : await service.volume(project, volumeId)
    if (found === undefined) throw new FleetError('conflict', 'the block service has the volume no more')
    return found
  }

  return {
    async snapshot(loan) {
      await backupOf(loan)
      const snapshot = await snapshotOf(loan)
      const { id, project, volumeId } = loan
      if (snapshot === undefined) {
        if (loan.snapshotId !== null || volumeId === null)
          throw new FleetError('conflict', 'the block service has the snapshot no more')
        await service.makeSnapshot(project, { name: loanName(id), volumeId })
        return 'wait'
      }
      if (snapshot.status === 'available') return turn(loan, 'copy')
      if (snapshot.status === 'creating') return 'wait'
      throw new FleetError('conflict', `the snapshot is '${snapshot.status}' in the block service`)
    },

    async copy(loan) {
      await backupOf(loan)
      const { id, project, sizeBytes } = loan
      const [copy] = await service.volumesNamed(project, loanName(id))
      if (copy === undefined) {
        const snapshot = await snapshotOf(loan)
        if (snapshot === undefined) throw new FleetError('conflict', 'the block service has the snapshot no more')
        await service.makeVolume(project, { name: loanName(id), snapshotId: snapshot.id, sizeBytes })
        return 'wait'
      }
      if (copy.status === 'available') return turn(loan, 'connect')
      if (copy.status === 'creating' || copy.status === 'downloading') return 'wait'
      throw new FleetError('conflict', `the volume of the snapshot is '${copy.status}' in the block service`)
    },

    /** Whoever asked for it has died over that: nobody was told of the volume. */
    async make(loan) {
      const found = await service.volumesMarked(loan.project, { name: LOAN_MARK, value: loan.id })
      const why = found.length === 0 ? 'did not make a volume' : 'made the volume, but nobody heard of it'
      await store.fail(loan, `the block service ${why}`)
      return undefined
    },

    async reserve(loan) {
      await backupOf(loan)
      const { project, initiator } = loan
      const volume = await volumeOf(loan)
      if (volume.status === 'creating') return 'wait'
      if (volume.status === 'available') {
        // Kept first: it may be reserved by ourselves from then on.
        await chosen(loan)
        await service.reserve(project, volume.id)
        return turn(loan, 'connect')
      }
      if (RESERVED.includes(volume.status) && initiator !== null) return turn(loan, 'connect')
      throw new FleetError('conflict', `the new volume is '${volume.status}' in the block service`)
    },

    async connect(loan) {
      const backup = await backupOf(loan)
      const { id, project, kind, backupId } = loan
      const who = await chosen(loan)
      const volume = await volumeOf(loan)
      const lun = await service.connect(project, volume.id, who)
      const connection = await store.connected(loan, lun)
      const caller: Caller = { ...SYSTEM_CALLER, groupId: loan.groupId }
      const { sizeBytes } = volume
      if (kind === 'write') {
        const point = backup.points.at(-1)
        if (point === undefined) throw new FleetError('conflict', 'the backup has no good point to restore')
        const lunOf = { host: who.host, connection, sizeBytes }
        await points.writeLun(caller, point, lunOf, { kind: 'lend', id, atMs: Date.now() })
        return undefined
      }
      const { volumeId, volume: name, isIncremental: incremental, target } = backup
      // Told of the first point alone: every other is of the volume as it was.
      const snapshot = loan.snapshotId
      const lent = { id: volumeId, name, snapshot, host: who.host, connection, sizeBytes }
      const where = { directory: backupSeries(backupId), ...(target === null ? {} : { target: target.id }) }
      const task = { kind: 'backup', id: backupId, atMs: Date.now(), sizeBytes, loan: id } as const
      await points.order(caller, { source: { lent }, incremental, ...where }, task)
      return undefined
    },

    async work(loan) {
      const { job, kind } = loan
      if (job?.state && !isTerminal(job.state)) return 'wait'
      if (kind === 'write' && job?.state !== 'succeeded') await store.fail(loan, 'its job did not succeed')
      else await store.turn(loan, 'disconnect')
      return undefined
    },
  }
}
