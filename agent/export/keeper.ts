import { FleetError } from '../../shared/errors.ts'
import { hashExports } from '../../shared/exports-hash.ts'
import type { Logger } from '../../shared/logger.ts'
import type { VolumePlace } from '../../shared/volume-spec.ts'
import type { Chap, ExportKeeper, KeptExport } from './export-keeper.ts'
import { type LoggedExport, openExportLog } from './export-log.ts'
import type { ExportTargets, StandingTarget, WantedTarget } from './exports.ts'

/** How often what could not be made again is tried again. */
const RETRY_MS = 15_000

/** Where a volume is now. @returns undefined where there is none. @throws where that cannot be told */
export type FindVolume = (place: VolumePlace) => Promise<{ readonly device: string; readonly guid: string } | undefined>

type Asked = KeptExport & { readonly chap: Chap }

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
  const log = openExportLog(deps.path)
  if (log.unreadable > 0) logger.error({ event: 'exports.unreadable', count: log.unreadable })
  const stopping = new AbortController()
  let tail: Promise<unknown> = Promise.resolve()
  let hash: string | undefined
  let retry: NodeJS.Timeout | undefined

  function inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const result = tail.then(act)
    tail = result.catch(() => undefined)
    return result
  }

  function keep(exports: readonly LoggedExport[]): void {
    hash = undefined
    log.keep(exports)
  }

  function drop(wwns: readonly string[]): void {
    hash = undefined
    log.drop(wwns)
  }

  async function add(wanted: readonly Asked[], signal: AbortSignal): Promise<readonly (Error | undefined)[]> {
    const refusals = wanted.map((one, n) =>
      wanted.findIndex(({ wwn }) => wwn === one.wwn) < n ? twice() : refusalOf(one, log.exports.get(one.wwn)),
    )
    const sound = wanted.filter((_, n) => refusals[n] === undefined)
    const before = new Map(sound.map(({ wwn }) => [wwn, log.exports.get(wwn)]))
    keep(sound)
    const failures = await targets
      .apply(sound.map(targetOf), signal)
      .catch((error: unknown) => sound.map(() => asError(error)))
    const failed = sound.filter((_, n) => failures[n] !== undefined)
    keep(failed.flatMap(({ wwn }) => before.get(wwn) ?? []))
    drop(failed.map(({ wwn }) => wwn).filter((wwn) => before.get(wwn) === undefined))
    // What it was before is made again: a change may have been cut off half way.
    if (failed.some(({ wwn }) => before.get(wwn) !== undefined)) restoreLater(0)
    const rest = failures.values()
    return refusals.map((refusal) => refusal ?? rest.next().value)
  }

  async function remove(
    asked: readonly { readonly wwn: string; readonly force: boolean }[],
    signal: AbortSignal,
  ): Promise<readonly (Error | undefined)[]> {
    const failures = await targets.remove(asked, signal)
    drop(asked.filter((_, n) => failures[n] === undefined).map(({ wwn }) => wwn))
    return failures
  }

  /** What is kept stands, on the volume that it was made for, and nothing else of ours does. @param again only what does not stand so */
  async function restore(signal: AbortSignal, again: boolean): Promise<void> {
    clearTimeout(retry)
    const kept = [...log.exports.values()]
    const found = await Promise.all(kept.map((one) => located(one, findVolume)))
    const there = found.filter((one) => one !== undefined && one !== 'unknown')
    keep(there.filter((one) => one.device !== log.exports.get(one.wwn)?.device))
    const wanted = new Map(there.map((one) => [one.wwn, one]))
    const unknown = new Set(kept.filter((_, n) => found[n] === 'unknown').map(({ wwn }) => wwn))
    const standing = await targets.list(signal)
    const extra = standing
      .filter(({ wwn, device }) => !unknown.has(wwn) && wanted.get(wwn)?.device !== device)
      .map(({ wwn }) => wwn)
    const left = await targets.remove(
      extra.map((wwn) => ({ wwn, force: true })),
      signal,
    )
    const byWwn = new Map(standing.map((target) => [target.wwn, target]))
    const missing = again ? there.filter((one) => !isAsWanted(one, byWwn.get(one.wwn))) : there
    const made = await targets.apply(missing.map(targetOf), signal)
    const problems = [...left, ...made].filter((problem) => problem !== undefined)
    const away = kept.length - there.length
    const told = { count: missing.length, removed: extra.length, away, failed: problems.length }
    if (kept.length + extra.length > 0) logger.info({ event: 'exports.restored', ...told })
    for (const err of problems.slice(0, 3)) logger.error({ event: 'exports.not_restored', err })
    if (away + problems.length > 0) restoreLater(retryMs)
  }

  function restoreLater(afterMs: number): void {
    clearTimeout(retry)
    if (stopping.signal.aborted) return
    retry = setTimeout(() => void restoreInTurn(true), afterMs)
    retry.unref()
  }

  /** Never throws. */
  async function restoreInTurn(again: boolean): Promise<void> {
    await inTurn(() => restore(stopping.signal, again)).catch((error: unknown) => {
      if (stopping.signal.aborted) return
      logger.error({ event: 'exports.not_restored', err: asError(error) })
      restoreLater(retryMs)
    })
  }

  targets.onLost(() => void restoreInTurn(false))

  return {
    technology: targets.name,
    portals: targets.portals,
    lun: targets.lun,
    add: (wanted, signal) => inTurn(() => add(wanted, signal)),
    remove: (asked, signal) => inTurn(() => remove(asked, signal)),
    find: (wwn) => log.exports.get(wwn),
    ofVolume: ({ pool, volume }) =>
      [...log.exports.values()].filter(({ place }) => place.pool === pool && place.volume === volume),
    kept: () => [...log.exports.values()],
    standing: (signal, wwns) => targets.list(signal, wwns),
    hash() {
      hash ??= hashExports(log.exports.values())
      return hash
    },
    restore: () => restoreInTurn(false),
    async resized({ pool, volume }, signal) {
      const showing = [...log.exports.values()].filter(({ place }) => place.pool === pool && place.volume === volume)
      for (const device of new Set(showing.map((one) => one.device))) {
        await inTurn(() => targets.resized(device, signal))
      }
    },
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

function twice(): FleetError {
  return new FleetError('conflict', 'the target is asked for twice')
}

function refusalOf({ place, device, guid }: Asked, before: LoggedExport | undefined): FleetError | undefined {
  if (before === undefined) return undefined
  const isSame = before.place.pool === place.pool && before.place.volume === place.volume
  if (isSame && before.guid === guid && before.device === device) return undefined
  const of = isSame ? 'an earlier volume of that name' : 'another volume'
  return new FleetError('conflict', `in use: the target serves ${of}`)
}

function targetOf({ wwn, device, guid, access, chap }: Asked): WantedTarget {
  return { wwn, device, guid, access: { initiators: access.initiators, chap } }
}

function isAsWanted({ device, access, chap }: LoggedExport, target: StandingTarget | undefined): boolean {
  if (target?.device !== device || target.hasChap !== (chap !== undefined)) return false
  return access.initiators.toSorted().join() === target.initiators.toSorted().join()
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
