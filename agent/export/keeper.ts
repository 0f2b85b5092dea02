import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { VolumePlace } from '../../shared/volume-spec.ts'
import type { AskedExport, ExportKeeper, ShownVolume } from './export-keeper.ts'
import type { LoggedExport } from './export-log.ts'
import type { ExportTargets, StandingTarget, WantedTarget } from './exports.ts'
import { openKeptExports } from './kept-exports.ts'
import { isRefusal, notClosed, refusalsOf } from './refusals.ts'

/** How often what could not be made again is tried again. */
const RETRY_MS = 15_000
/** How long what a failed call made is taken down at most. */
const UNMAKE_MS = 60_000

/** Where a volume is now. @returns undefined where there is none. @throws where that cannot be told */
export type FindVolume = (place: VolumePlace) => Promise<ShownVolume | undefined>

/** One that could not be made as it was asked for. */
interface Failed {
  readonly wwn: string
  readonly failure: Error
  readonly before: LoggedExport | undefined
}

/**
 * An export is on disk before its target is made, and until that is gone: what a crash cuts off is made whole by the next `restore`, and
 * taken back by whoever ordered it. Changes are made one after the other; a restore waits for its turn like them.
 */
export function openExportKeeper(deps: {
  readonly targets: ExportTargets
  /** A file of the agent's own. */
  readonly path: string
  readonly findVolume: FindVolume
  readonly logger: Logger
  readonly retryMs?: number
}): ExportKeeper & AsyncDisposable {
  const { targets, findVolume, logger, retryMs = RETRY_MS } = deps
  const log = openKeptExports(deps.path)
  if (log.unreadable > 0) logger.error({ event: 'exports.unreadable', count: log.unreadable })
  const stopping = new AbortController()
  /** A change of theirs failed: how they stand does not tell which secret they ask for. */
  const doubtful = new Set<string>()
  let tail: Promise<unknown> = Promise.resolve()
  let retry: NodeJS.Timeout | undefined

  function inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const result = tail.then(act)
    tail = result.catch(() => undefined)
    return result
  }

  /** Answers in their sequence, also where all of the call failed. */
  function applied(wanted: readonly AskedExport[], signal: AbortSignal): Promise<readonly (Error | undefined)[]> {
    return targets.apply(wanted.map(targetOf), signal).catch((error: unknown) => wanted.map(() => asError(error)))
  }

  function removed(wwns: readonly string[], force: boolean, signal: AbortSignal) {
    return targets
      .remove(
        wwns.map((wwn) => ({ wwn, force })),
        signal,
      )
      .catch((error: unknown) => wwns.map(() => asError(error)))
  }

  async function add(wanted: readonly AskedExport[], signal: AbortSignal): Promise<readonly (Error | undefined)[]> {
    const refusals = refusalsOf(wanted, log.exports)
    const sound = wanted.filter((_, n) => refusals[n] === undefined)
    const before = new Map(sound.map(({ wwn }) => [wwn, log.exports.get(wwn)]))
    log.keep(sound)
    const failures = await applied(sound, signal)
    const failed = sound.flatMap(({ wwn }, n): Failed[] => {
      const failure = failures[n]
      if (failure === undefined) doubtful.delete(wwn)
      return failure === undefined ? [] : [{ wwn, failure, before: before.get(wwn) }]
    })
    if (failed.length > 0) await unmake(failed)
    const rest = failures.values()
    return refusals.map((refusal) => refusal ?? rest.next().value)
  }

  /** What it was before is made again, as a change may have been cut off half way. What is new goes, and is kept for as long as it does not. */
  async function unmake(failed: readonly Failed[]): Promise<void> {
    const changed = failed.flatMap(({ before }) => before ?? [])
    for (const { wwn } of changed) doubtful.add(wwn)
    const fresh = failed.filter(({ before }) => before === undefined)
    const half = fresh.filter(({ failure }) => !isRefusal(failure)).map(({ wwn }) => wwn)
    const problems = half.length === 0 ? [] : await removed(half, true, AbortSignal.timeout(UNMAKE_MS))
    const left = new Set(half.filter((_, n) => problems[n] !== undefined))
    if (changed.length + left.size > 0) restoreLater(0)
    log.keep(changed)
    log.drop(fresh.map(({ wwn }) => wwn).filter((wwn) => !left.has(wwn)))
  }

  async function remove(
    asked: readonly { readonly wwn: string; readonly force: boolean }[],
    signal: AbortSignal,
  ): Promise<readonly (Error | undefined)[]> {
    const failures = await targets.remove(asked, signal).catch(reopening)
    // Whoever is kept stays open: one that was taken apart in part is made again.
    if (failures.some((failure) => failure !== undefined && !isRefusal(failure))) restoreLater(0)
    const gone = asked.filter((_, n) => failures[n] === undefined).map(({ wwn }) => wwn)
    for (const wwn of gone) doubtful.delete(wwn)
    log.drop(gone)
    return failures
  }

  /** What is kept stands, on the volume that it was made for, and nothing else of ours does. @param again only what does not stand so */
  async function restore(signal: AbortSignal, again: boolean): Promise<void> {
    clearTimeout(retry)
    const kept = [...log.exports.values()]
    const found = await Promise.all(kept.map((one) => located(one, findVolume)))
    const there = found.filter((one) => one !== undefined && one !== 'unknown')
    log.keep(there.filter((one) => one.device !== log.exports.get(one.wwn)?.device))
    const wanted = new Map(there.map((one) => [one.wwn, one]))
    const unknown = new Set(kept.filter((_, n) => found[n] === 'unknown').map(({ wwn }) => wwn))
    const standing = await targets.list(signal)
    const extra = standing
      .filter((target) => !unknown.has(target.wwn) && !shows(target, wanted.get(target.wwn)))
      .map(({ wwn }) => wwn)
    const left = await targets.remove(
      extra.map((wwn) => ({ wwn, force: true })),
      signal,
    )
    const byWwn = new Map(standing.map((target) => [target.wwn, target]))
    const missing = again ? there.filter((one) => !isAsWanted(one, byWwn.get(one.wwn))) : there
    const made = await targets.apply(missing.map(targetOf), signal)
    for (const [n, { wwn }] of missing.entries()) if (made[n] === undefined) doubtful.delete(wwn)
    const problems = [...left, ...made].filter((problem) => problem !== undefined)
    const away = kept.length - there.length
    const told = { count: missing.length, removed: extra.length, away, failed: problems.length }
    if (kept.length + extra.length > 0) logger.info({ event: 'exports.restored', ...told })
    complain(problems)
    if (away + problems.length > 0) restoreLater(retryMs)
  }

  /** Whether a target is of the very volume that is exported under its name. */
  function shows({ device, guid }: StandingTarget, wanted: LoggedExport | undefined): boolean {
    return wanted !== undefined && device === wanted.device && guid === targets.shownGuid(wanted.guid)
  }

  function isAsWanted(wanted: LoggedExport, target: StandingTarget | undefined): boolean {
    if (target === undefined || doubtful.has(wanted.wwn) || !shows(target, wanted)) return false
    if (target.hasChap !== (wanted.chap !== undefined)) return false
    if (target.isReadonly !== (wanted.access.isReadonly === true)) return false
    return wanted.access.initiators.toSorted().join() === target.initiators.toSorted().join()
  }

  function complain(problems: readonly Error[]): void {
    for (const err of problems.slice(0, 3)) logger.error({ event: 'exports.not_restored', err })
  }

  function restoreLater(afterMs: number): void {
    clearTimeout(retry)
    if (stopping.signal.aborted) return
    retry = setTimeout(() => void restoreInTurn(true), afterMs)
    retry.unref()
  }

  function reopening(error: unknown): never {
    restoreLater(0)
    throw error
  }

  /** Never throws. */
  async function restoreNow(again: boolean): Promise<void> {
    await restore(stopping.signal, again).catch((error: unknown) => {
      if (stopping.signal.aborted) return
      logger.error({ event: 'exports.not_restored', err: asError(error) })
      restoreLater(retryMs)
    })
  }

  const restoreInTurn = (again: boolean) => inTurn(() => restoreNow(again))

  async function replace<Now extends ShownVolume>(
    place: VolumePlace,
    act: () => Promise<Now>,
    signal: AbortSignal,
  ): Promise<Now> {
    const shown = log.ofVolume(place)
    if (shown.length === 0) return await act()
    const wwns = shown.map(({ wwn }) => wwn)
    const failures = await removed(wwns, false, signal)
    if (failures.some((failure) => failure !== undefined)) {
      await open(shown)
      throw notClosed(wwns, failures)
    }
    const now = await act().catch(async (error: unknown) => {
      // Half of it may be done: what has the place now is looked up.
      await restoreNow(true)
      throw error
    })
    const replaced = shown.map((one) => ({ ...one, device: now.device, guid: now.guid }))
    try {
      log.keep(replaced)
    } catch (error) {
      reopening(error)
    }
    await open(replaced)
    return now
  }

  async function open(some: readonly LoggedExport[]): Promise<void> {
    const problems = (await applied(some, stopping.signal)).filter((problem) => problem !== undefined)
    complain(problems)
    if (problems.length > 0) restoreLater(0)
  }

  targets.onLost(() => void restoreInTurn(false))

  return {
    technology: targets.name,
    portals: targets.portals,
    lun: targets.lun,
    add: (wanted, signal) => inTurn(() => add(wanted, signal)),
    remove: (asked, signal) => inTurn(() => remove(asked, signal)),
    find: (wwn) => log.exports.get(wwn),
    ofVolume: log.ofVolume,
    kept: () => [...log.exports.values()],
    standing: (signal, wwns) => targets.list(signal, wwns),
    async sessionsOf(place, signal) {
      const wwns = log.ofVolume(place).map(({ wwn }) => wwn)
      const standing = wwns.length === 0 ? [] : await targets.list(signal, wwns)
      return standing.flatMap(({ wwn, sessions }) => sessions.map((session) => ({ wwn, ...session })))
    },
    hash: log.hash,
    restore: () => restoreInTurn(false),
    async resized(place, signal) {
      for (const device of new Set(log.ofVolume(place).map((one) => one.device))) {
        await inTurn(() => targets.resized(device, signal).catch(reopening))
      }
    },
    replace: (place, act, signal) => inTurn(() => replace(place, act, signal)),
    async [Symbol.asyncDispose]() {
      if (stopping.signal.aborted) return
      stopping.abort()
      clearTimeout(retry)
      await tail
      await targets.close()
      log.close()
    },
  }
}

function targetOf({ wwn, device, guid, access, chap }: AskedExport): WantedTarget {
  const { initiators, isReadonly = false } = access
  return { wwn, device, guid, access: { initiators, chap, isReadonly } }
}

/** Where its volume is now. Undefined: it is away, or is another one by now. `unknown`: what stands is left as it is. */
async function located(kept: LoggedExport, findVolume: FindVolume): Promise<LoggedExport | 'unknown' | undefined> {
  try {
    const volume = await findVolume(kept.place)
    return volume?.guid === kept.guid ? { ...kept, device: volume.device } : undefined
  } catch (error) {
    return error instanceof FleetError && error.code === 'not_found' ? undefined : 'unknown'
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
