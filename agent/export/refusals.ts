import { FleetError } from '../../shared/errors.ts'
import type { AskedExport, ShownVolume } from './export-keeper.ts'
import type { LoggedExport } from './export-log.ts'

/** A target changes neither its volume nor what that is; and a volume is in one target: two would know nothing of each other's reservations. */
export function refusalsOf(
  wanted: readonly AskedExport[],
  kept: ReadonlyMap<string, LoggedExport>,
): readonly (FleetError | undefined)[] {
  const seen = new Set<string>()
  const byVolume = new Map([...kept.values()].map((one) => [keyOf(one), one.wwn]))
  return wanted.map((one) => {
    if (seen.has(one.wwn)) return new FleetError('conflict', 'the target is asked for twice')
    seen.add(one.wwn)
    const refusal = refusalOf(one, kept.get(one.wwn), byVolume.get(keyOf(one)))
    if (refusal === undefined) byVolume.set(keyOf(one), one.wwn)
    return refusal
  })
}

/** A device that comes to another volume is no more what is kept of the first. */
function keyOf({ device, guid }: ShownVolume): string {
  return `${guid} ${device}`
}

/** @param shownBy the target of that very volume, if there is one */
function refusalOf(
  { wwn, place, device, guid }: AskedExport,
  before: LoggedExport | undefined,
  shownBy: string | undefined,
): FleetError | undefined {
  if (shownBy !== undefined && shownBy !== wwn) {
    return new FleetError('conflict', 'in use: another target serves the volume', { blockers: [shownBy] })
  }
  if (before === undefined) return undefined
  const isSame = before.place.pool === place.pool && before.place.volume === place.volume
  if (isSame && before.guid === guid && before.device === device) return undefined
  const of = isSame ? 'an earlier volume of that name' : 'another volume'
  return new FleetError('conflict', `in use: the target serves ${of}`)
}

/** Nothing was changed by what is refused. */
export function isRefusal(failure: Error): boolean {
  return failure instanceof FleetError && (failure.code === 'conflict' || failure.code === 'invalid')
}

/** Why exports of one volume could not be closed without force. */
export function notClosed(wwns: readonly string[], failures: readonly (Error | undefined)[]): Error {
  const blockers = wwns.filter((_, n) => {
    const failure = failures[n]
    return failure instanceof FleetError && failure.code === 'conflict'
  })
  if (blockers.length > 0) return new FleetError('conflict', 'in use: initiators are logged in', { blockers })
  return failures.find((failure) => failure !== undefined) ?? new FleetError('busy', 'a target does not close')
}
