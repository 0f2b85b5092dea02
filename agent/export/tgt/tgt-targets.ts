import { FleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { ExportTargets, StandingTarget, WantedTarget } from '../exports.ts'
import { bindAccount, dropUnused, otherSecret, settleAccounts } from './accounts.ts'
import { checkWanted } from './check-wanted.ts'
import { type Control, TgtdAway, TgtRefusal } from './control.ts'
import { createTgtDaemon, type RunningTgtd, type TgtSettings } from './daemon.ts'
import { unitIdentity } from './identity.ts'
import { type KnownTarget, type Model, readModel, UNIT } from './model.ts'
import { admit, attach, build, connectionsOf, detach, endSessions, shutOut, takeDown } from './target.ts'

/** Targets worked on at one time; tgtd itself does one thing after the other. */
const AT_ONE_TIME = 8

/** Targets of a tgtd of our own, spoken to over its control socket: no tool, no child process but the daemon. */
export function openTgtTargets(settings: TgtSettings, logger: Logger): ExportTargets {
  const daemon = createTgtDaemon(settings, logger)
  let known: { readonly of: RunningTgtd; readonly model: Model } | undefined
  let tail: Promise<unknown> = Promise.resolve()

  function inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const result = tail.then(act)
    tail = result.catch(() => undefined)
    return result
  }

  /** What the tgtd that runs now has: as we made it, or as an earlier process of this agent left it. */
  async function current(): Promise<{ readonly control: Control; readonly model: Model }> {
    const found = await daemon.running()
    if (known?.of !== found) known = await read(found)
    return { control: found.control, model: known.model }
  }

  async function read(found: RunningTgtd): Promise<{ readonly of: RunningTgtd; readonly model: Model }> {
    const model = await readModel(found.control)
    if (model !== undefined) return { of: found, model }
    logger.error({ event: 'tgtd.listing_unbelievable' })
    const fresh = await daemon.renewed()
    const empty = await readModel(fresh.control)
    if (empty === undefined) throw new FleetError('internal', 'the iSCSI target daemon cannot be understood')
    return { of: fresh, model: empty }
  }

  /** Each fails alone, but once tgtd is away all that are left do. What failed of tgtd itself makes us look again what it has. */
  async function each<Item>(items: readonly Item[], signal: AbortSignal, act: (item: Item) => Promise<void>) {
    const failures: (Error | undefined)[] = new Array(items.length).fill(undefined)
    let next = 0
    let away: FleetError | undefined
    async function work(): Promise<void> {
      while (next < items.length) {
        const n = next
        next += 1
        try {
          if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
          if (away !== undefined) throw away
          await act(items[n] as Item) // as: n is one of them
        } catch (error) {
          if (!(error instanceof FleetError) || error instanceof TgtdAway) known = undefined
          if (error instanceof TgtdAway) away = error
          failures[n] = asFleetError(error)
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(AT_ONE_TIME, items.length) }, work))
    return failures
  }

  async function applyAll(wanted: readonly WantedTarget[], signal: AbortSignal) {
    if (wanted.length === 0) return []
    const { control, model } = await current()
    const invalid = await each(wanted, signal, checkWanted)
    const sound = wanted.filter((_, n) => invalid[n] === undefined)
    const { refused, changed } = await settleAccounts(control, model, sound).catch((error: unknown) => {
      known = undefined
      throw asFleetError(error)
    })
    const seen = new Set<string>()
    const failures = await each(wanted.entries().toArray(), signal, async ([n, one]) => {
      const problem = invalid[n]
      if (problem !== undefined) throw problem
      if (refused.has(one)) throw otherSecret()
      if (seen.has(one.wwn)) throw new FleetError('conflict', 'the target is asked for twice')
      seen.add(one.wwn)
      await apply(control, model, one, changed.has(one.wwn))
    })
    await forgetUnused(control, model)
    return failures
  }

  /** What the next one finds is left over otherwise, and is forgotten then. */
  async function forgetUnused(control: Control, model: Model): Promise<void> {
    await dropUnused(control, model).catch(() => {
      known = undefined
    })
  }

  return {
    name: 'tgt',
    portals: settings.portals,
    lun: UNIT,
    apply: (wanted, signal) => inTurn(() => applyAll(wanted, signal)),

    remove: (asked, signal) =>
      inTurn(async () => {
        if (!(await daemon.isThere())) return asked.map(() => undefined)
        const { control, model } = await current()
        const failures = await each(asked, signal, ({ wwn, force }) => remove(control, model, wwn, force))
        await forgetUnused(control, model)
        return failures
      }),

    async list(signal, wwns) {
      if (!(await daemon.isThere())) return []
      const { control, model } = await inTurn(current)
      const targets =
        wwns === undefined ? [...model.targets.values()] : wwns.flatMap((wwn) => model.targets.get(wwn) ?? [])
      const standing: StandingTarget[] = []
      const failures = await each(targets, signal, async (target) => {
        standing.push(await told(control, target))
      })
      for (const failure of failures) if (failure !== undefined) throw failure
      return standing
    },

    resized: (device, signal) =>
      inTurn(async () => {
        if (!(await daemon.isThere())) return
        const { control, model } = await current()
        const showing = [...model.targets.values()].filter(({ unit }) => unit?.device === device)
        const failures = await each(showing, signal, (target) => reopen(control, target))
        for (const failure of failures) if (failure !== undefined) throw failure
      }),

    onLost: daemon.onLost,
    close: daemon.close,
  }
}

/** Opens for nobody before it stands as wanted. */
async function apply(control: Control, model: Model, wanted: WantedTarget, isNewSecret: boolean): Promise<void> {
  const { wwn, device, guid, access } = wanted
  let target = model.targets.get(wwn)
  const isOther = target?.unit?.device !== device || target.unit.serial !== unitIdentity(guid).serial
  if (target !== undefined && isOther) {
    if (target.initiators.size > 0) throw new FleetError('conflict', 'in use: the target serves another volume')
    await takeDown(control, model, target)
    target = undefined
  }
  requireOnce(model, wanted)
  const isThere = target !== undefined
  target ??= await build(control, model, wanted)
  const user = access.chap?.user
  const isNewAccount = target.chapUser !== user
  const isNobodys = isNewAccount || isNewSecret
  const keep = new Set(isNobodys ? [] : access.initiators)
  await shutOut(
    control,
    target,
    [...target.initiators].filter((name) => !keep.has(name)),
  )
  await bindAccount(control, target, user)
  if (isThere) await endSessions(control, target, ({ initiator }) => !keep.has(initiator))
  await admit(
    control,
    target,
    access.initiators.filter((name) => !target.initiators.has(name)),
  )
}

/** Two targets would know nothing of each other's reservations. */
function requireOnce(model: Model, { wwn, device }: WantedTarget): void {
  const other = [...model.targets.values()].find((target) => target.wwn !== wwn && target.unit?.device === device)
  if (other === undefined) return
  throw new FleetError('conflict', 'in use: another target serves the volume', { blockers: [other.wwn] })
}

async function remove(control: Control, model: Model, wwn: string, force: boolean): Promise<void> {
  const target = model.targets.get(wwn)
  if (target === undefined) return
  if (!force) await requireUnused(control, target)
  const initiators = [...target.initiators]
  await shutOut(control, target, initiators)
  if (!force) {
    try {
      await requireUnused(control, target)
    } catch (error) {
      await admit(control, target, initiators)
      throw error
    }
  }
  await takeDown(control, model, target)
}

/** @throws conflict naming the initiators that have a session */
async function requireUnused(control: Control, target: KnownTarget): Promise<void> {
  const initiators = new Set((await connectionsOf(control, target)).map(({ initiator }) => initiator))
  if (initiators.size > 0) throw new FleetError('conflict', 'in use', { blockers: [...initiators].toSorted() })
}

/** tgtd looks at a volume's size when it opens it. Whoever is logged in sees the old one until all have logged out and this is asked again. */
async function reopen(control: Control, target: KnownTarget): Promise<void> {
  const { unit } = target
  const initiators = [...target.initiators]
  if (unit === undefined || (await connectionsOf(control, target)).length > 0) return
  await shutOut(control, target, initiators)
  try {
    if ((await connectionsOf(control, target)).length > 0) return
    await detach(control, target)
    await attach(control, target, unit)
  } finally {
    await admit(control, target, initiators)
  }
}

async function told(control: Control, target: KnownTarget): Promise<StandingTarget> {
  const sessions = (await connectionsOf(control, target)).map(({ initiator, address }) => ({ initiator, address }))
  return {
    wwn: target.wwn,
    device: target.unit?.device ?? '',
    guid: target.unit?.serial,
    initiators: [...target.initiators].toSorted(),
    hasChap: target.chapUser !== undefined,
    sessions,
  }
}

function asFleetError(error: unknown): Error {
  if (error instanceof TgtRefusal) {
    return new FleetError('internal', 'the iSCSI target daemon refuses', { detail: error.message, cause: error })
  }
  return error instanceof Error ? error : new Error(String(error))
}
