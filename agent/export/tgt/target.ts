import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { WantedTarget } from '../exports.ts'
import { type Control, TgtRefusal } from './control.ts'
import { unitIdentity } from './identity.ts'
import { type KnownTarget, type Model, UNIT, type Unit } from './model.ts'
import { TGT_ERRORS } from './request.ts'
import { type ListedConnection, parseConnections } from './target-text.ts'

/** How long a session, or what it still does, is waited for once it was told to end. */
const END_TIMEOUT_MS = 5_000
const POLL_MS = 5

const VENDOR = 'HOLDFAST'
const PRODUCT = 'volume'

/** A target that is open to nobody, with its volume. What a failure leaves is taken down again. */
export async function build(control: Control, model: Model, wanted: WantedTarget): Promise<KnownTarget> {
  const target = await create(control, model, wanted)
  try {
    const { device, guid, access } = wanted
    await attach(control, target, { device, serial: unitIdentity(guid).serial, isReadonly: access.isReadonly === true })
  } catch (error) {
    await takeDown(control, model, target)
    throw error
  }
  return target
}

async function create(control: Control, model: Model, { wwn, guid }: WantedTarget): Promise<KnownTarget> {
  const tid = model.tids.next(guid)
  await control.ask({ mode: 'target', operation: 'new', tid, params: `targetname=${wwn}` })
  const target: KnownTarget = {
    ...{ tid, wwn, unit: undefined, chapUser: undefined, initiators: new Set(), mayLinger: false },
  }
  model.targets.set(wwn, target)
  return target
}

/** All of it or nothing: without its names a volume would be taken for another one. */
export async function attach(control: Control, target: KnownTarget, shown: Unit): Promise<void> {
  const { device, isReadonly } = shown
  const { serial, scsiId } = unitIdentity(shown.serial)
  const { tid } = target
  const unit = { mode: 'unit', tid, lun: UNIT } as const
  await control.ask({ ...unit, operation: 'new', params: `path=${device},bstype=rdwr` }).catch((cause) => {
    throw new FleetError('unavailable', 'the volume cannot be opened for export', { detail: device, cause })
  })
  const names = `vendor_id=${VENDOR},product_id=${PRODUCT},scsi_id=${scsiId},scsi_sn=${serial}`
  try {
    await control.ask({
      ...unit,
      operation: 'update',
      params: `${names},thin_provisioning=1,readonly=${isReadonly ? 1 : 0}`,
    })
  } catch (error) {
    await detach(control, target)
    throw error
  }
  target.unit = { device, serial, isReadonly }
}

/** @throws busy while an initiator's command still runs */
export async function detach(control: Control, target: KnownTarget): Promise<void> {
  await inTime('the volume is still being read or written', async () => {
    try {
      await control.settle({ mode: 'unit', operation: 'delete', tid: target.tid, lun: UNIT }, TGT_ERRORS.noUnit)
      return true
    } catch (error) {
      if (error instanceof TgtRefusal && error.code === TGT_ERRORS.unitActive) return false
      throw error
    }
  })
  target.unit = undefined
}

export async function admit(control: Control, target: KnownTarget, initiators: readonly string[]): Promise<void> {
  for (const initiator of initiators) {
    const params = `initiator-name=${initiator}`
    const request = { mode: 'target', operation: 'bind', tid: target.tid, params } as const
    await control.settle(request, TGT_ERRORS.initiatorExists)
    target.initiators.add(initiator)
  }
}

/** They cannot log in any more; the sessions that they have go on. */
export async function shutOut(control: Control, target: KnownTarget, initiators: Iterable<string>): Promise<void> {
  for (const initiator of [...initiators]) {
    const params = `initiator-name=${initiator}`
    await control.settle({ mode: 'target', operation: 'unbind', tid: target.tid, params }, TGT_ERRORS.noInitiator)
    target.initiators.delete(initiator)
  }
}

export async function connectionsOf(control: Control, { tid }: KnownTarget): Promise<readonly ListedConnection[]> {
  return parseConnections(await control.ask({ mode: 'connection', operation: 'show', tid }))
}

/** Ends the sessions that `isStale` names; resolves once they are gone. @throws busy */
export async function endSessions(
  control: Control,
  target: KnownTarget,
  isStale: (connection: ListedConnection) => boolean,
): Promise<void> {
  await inTime('a session does not end', async () => {
    const stale = (await connectionsOf(control, target)).filter(isStale)
    for (const { sid, cid } of stale) {
      const request = { mode: 'connection', operation: 'delete', tid: target.tid, sid, cid } as const
      await control.settle(request, TGT_ERRORS.noSession, TGT_ERRORS.noConnection)
    }
    return stale.length === 0
  })
}

/** Without force, which ends tgtd itself where a command still runs: nobody has a session here any more. */
export async function takeDown(control: Control, model: Model, target: KnownTarget): Promise<void> {
  await shutOut(control, target, target.initiators)
  await endSessions(control, target, () => true)
  await detach(control, target)
  await inTime('a session does not end', async () => {
    try {
      await control.settle({ mode: 'target', operation: 'delete', tid: target.tid }, TGT_ERRORS.noTarget)
      return true
    } catch (error) {
      if (!(error instanceof TgtRefusal && error.code === TGT_ERRORS.targetActive)) throw error
      // A login that began before nobody was let in any more has just ended.
      await endSessions(control, target, () => true)
      return false
    }
  })
  model.targets.delete(target.wwn)
}

async function inTime(problem: string, isDone: () => Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + END_TIMEOUT_MS
  while (!(await isDone())) {
    if (performance.now() > untilMs) throw new FleetError('busy', problem)
    await pause(POLL_MS)
  }
}
