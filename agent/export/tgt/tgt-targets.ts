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
/** How soon it is looked for late sessions of initiators that were shut out, after twice as long each time then, and at least this often. */
const FIRST_SWEEP_MS = 1_000
const LAST_SWEEP_MS = 60_000

/** Targets of a tgtd of our own, spoken to over its control socket: no tool, no child process but the daemon. */
export function openTgtTargets(settings: TgtSettings, logger: Logger): ExportTargets {
  const daemon = createTgtDaemon(settings, logger)
  let known: { readonly of: RunningTgtd; readonly model: Model } | undefined
  let tail: Promise<unknown> = Promise.resolve()
  let sweeping: NodeJS.Timeout | undefined
  /** Infinity: nobody has to be looked for. */
  let sweepMs = Infinity
  const closing = new AbortController()

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
    const model = await readModel(found)
    if (model !== undefined) {
      // Whom an earlier process, or a call that failed, shut out of these is not known.
      if (model.targets.size > 0) sweepSoon()
      return { of: found, model }
    }
    logger.error({ event: 'tgtd.listing_unbelievable' })
    const fresh = await daemon.renewed()
    const empty = await readModel(fresh)
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
    const refused = await settleAccounts(control, model, sound).catch((error: unknown) => {
      known = undefined
      throw asFleetError(error)
    })
    const seen = new Set<string>()
    const devices = new Set<string>()
    const failures = await each(wanted.entries().toArray(), signal, async ([n, one]) => {
      const problem = invalid[n]
      if (problem !== undefined) throw problem
      if (refused.has(one)) throw otherSecret()
      if (seen.has(one.wwn)) throw new FleetError('conflict', 'the target is asked for twice')
      seen.add(one.wwn)
      if (devices.has(one.device)) throw new FleetError('conflict', 'in use: the volume is asked for twice')
      devices.add(one.device)
      await apply(control, model, one, sweepSoon)
    })
    await forgetUnused(control, model)
    return failures
  }

  /** Ends sessions that began before their initiators were shut out, and whose logins ended after it. */
  async function sweep(): Promise<void> {
    if (!(await daemon.isThere())) return
    const { control, model } = await current()
    const lingering = [...model.targets.values()].filter(({ mayLinger }) => mayLinger)
    await each(lingering, closing.signal, (target) => endStrangers(control, target))
  }

  function sweepSoon(): void {
    if (sweepMs <= FIRST_SWEEP_MS) return
    clearTimeout(sweeping)
    sweepAfter(FIRST_SWEEP_MS)
  }

  function sweepAfter(ms: number): void {
    if (closing.signal.aborted) return
    sweepMs = ms
    sweeping = setTimeout(() => void inTurn(sweep).then(again, again), ms)
    sweeping.unref()
  }

  /** Only while there can be any. */
  function again(): void {
    const isNeeded = known === undefined || [...known.model.targets.values()].some(({ mayLinger }) => mayLinger)
    if (isNeeded) sweepAfter(Math.min(2 * sweepMs, LAST_SWEEP_MS))
    else sweepMs = Infinity
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
      if (standing.some(hasStranger)) sweepSoon()
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

    shownGuid: (guid) => unitIdentity(guid).serial,
    onLost: daemon.onLost,
    async close() {
      closing.abort()
      clearTimeout(sweeping)
      await tail
      await daemon.close()
    },
  }
}

/**
 * Opens for nobody before it stands as wanted. tgtd lets whoever began to log in end that, whatever was changed meanwhile: where what is asked
 * of everybody changes, or nobody stays who was listed, another target is made, under another number, and such logins fail.
 * @param onFewer somebody is shut out of a target that stays
 */
async function apply(control: Control, model: Model, wanted: WantedTarget, onFewer: () => void): Promise<void> {
  const { wwn, device, guid, access } = wanted
  let target = model.targets.get(wwn)
  const isOther = target?.unit?.device !== device || target.unit.serial !== unitIdentity(guid).serial
  if (target !== undefined && isOther && target.initiators.size > 0) {
    throw new FleetError('conflict', 'in use: the target serves another volume')
  }
  requireOnce(model, wanted)
  const user = access.chap?.user
  const stays = access.initiators.some((name) => target?.initiators.has(name))
  const isAsWritable = target?.unit?.isReadonly === (access.isReadonly === true)
  if (target !== undefined && (isOther || !stays || !isAsWritable || target.chapUser !== user)) {
    await takeDown(control, model, target)
    target = undefined
  }
  if (target === undefined) {
    target = await build(control, model, wanted)
    await bindAccount(control, target, user)
  } else {
    const stale = [...target.initiators].filter((name) => !access.initiators.includes(name))
    if (stale.length > 0) {
      target.mayLinger = true
      onFewer()
    }
    await shutOut(control, target, stale)
    await endStrangers(control, target)
  }
  const there = target.initiators
  await admit(
    control,
    target,
    access.initiators.filter((name) => !there.has(name)),
  )
}

/** Whoever is listed keeps his session. */
function endStrangers(control: Control, target: KnownTarget): Promise<void> {
  return endSessions(control, target, ({ initiator }) => !target.initiators.has(initiator))
}

function hasStranger({ initiators, sessions }: StandingTarget): boolean {
  return sessions.some(({ initiator }) => !initiators.includes(initiator))
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
    // Without its volume it stays shut.
    if (target.unit !== undefined) await admit(control, target, initiators)
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
    isReadonly: target.unit?.isReadonly === true,
    sessions,
  }
}

function asFleetError(error: unknown): Error {
  if (error instanceof TgtRefusal) {
    return new FleetError('internal', 'the iSCSI target daemon refuses', { detail: error.message, cause: error })
  }
  return error instanceof Error ? error : new Error(String(error))
}
