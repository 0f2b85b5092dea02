import type { InstanceType, ReportedInstance } from '../../shared/instance-spec.ts'
import type { ListedType } from '../../shared/wire/reads.ts'
import type { InstanceInfo } from './instances.ts'

/** Rows of one host beyond those that are there: of more, those that are gone longest are forgotten. */
const MAX_GONE = 5_000

/** What comes back under a name by then is what had it, also when it was set up anew. */
const MAX_AWAY_MS = 86_400_000
/** What their hosts call them: names may be given to others later, an engine's ids never are. */
const REF_IS_NAME: Readonly<Record<InstanceType, boolean>> = { lxc: true, docker: false, libvirt: false }

/** A row of the host that is folded into, as it stands. Times in ms since the epoch, by the database's clock. */
export interface StandingInstance extends Pick<InstanceInfo, 'id' | 'type' | 'ref' | 'name' | 'state' | 'mounts'> {
  readonly configHash: string | null
  /** A job makes it, or makes it anew. */
  readonly isBeingMade: boolean
  readonly settledAtMs: number | null
  readonly goneAtMs: number | null
}

/** What a host told, whole. */
export interface InstanceReport {
  /** No later than this it was so, by the database's clock. */
  readonly takenAtMs: number
  readonly types: readonly ListedType[]
  readonly items: readonly ReportedInstance[]
}

export interface InstanceProblem {
  readonly type: InstanceType
  readonly message: string
}

/** What is to be written. */
export interface InstanceFold {
  /** New ones, those that changed, and those that came back. */
  readonly kept: readonly (ReportedInstance & { readonly id: string })[]
  readonly gone: readonly string[]
  readonly forgotten: readonly string[]
  readonly problems: readonly InstanceProblem[]
  /** False when some of it was left for later, because a job still works on it: the host is to be asked again. */
  readonly isWhole: boolean
}

/**
 * What a host's word does to its rows. One that its agent lists no more is gone; when it comes back, it is the same again, unless its name
 * alone came back after long: that is another one, and not its group's. Nobody is gone because tools failed: only of a type that was listed
 * it is known who is missing. What a job has left behind since then stays.
 */
export function foldInstances(
  rows: readonly StandingInstance[],
  report: InstanceReport,
  newId: () => string,
): InstanceFold {
  const reported = onlyOnce(report.items)
  const present = new Map(rows.flatMap((row) => (isPresent(row) ? [[keyOf(row.type, row.ref), row]] : [])))
  const away = latestGone(rows)
  const making = new Set(rows.filter(({ state }) => state === 'CREATING').map((row) => keyOf(row.type, row.name)))
  const isNewer = ({ settledAtMs }: StandingInstance) => settledAtMs !== null && settledAtMs >= report.takenAtMs
  let isWhole = true
  const kept: (ReportedInstance & { id: string })[] = []

  for (const [key, item] of reported) {
    const row = present.get(key)
    if (row === undefined) {
      // Its job tells what it is called.
      if (making.has(keyOf(item.type, item.name))) isWhole = false
      else {
        const last = away.get(key)
        kept.push({ ...item, id: last && isSame(last, item, report.takenAtMs) ? last.id : newId() })
      }
    } else if (isNewer(row)) isWhole = false
    else if (isChanged(row, item)) kept.push({ ...item, id: row.id })
  }

  const listed = new Set(report.types.filter((type) => type.listed).map(({ type }) => type))
  const gone: string[] = []
  for (const [key, row] of present) {
    if (reported.has(key) || !listed.has(row.type)) continue
    if (row.isBeingMade || isNewer(row)) isWhole = false
    else gone.push(row.id)
  }
  const revived = new Set(kept.map(({ id }) => id))
  const forgotten = rows
    .filter((row) => row.goneAtMs !== null && !revived.has(row.id))
    .toSorted((a, b) => (b.goneAtMs ?? 0) - (a.goneAtMs ?? 0))
    .slice(MAX_GONE)
    .map(({ id }) => id)
  return { kept, gone, forgotten, problems: problemsOf(report.types, present.values()), isWhole }
}

function keyOf(type: InstanceType, name: string): string {
  return `${type} ${name}`
}

function isPresent(row: StandingInstance): row is StandingInstance & { readonly ref: string } {
  return row.ref !== null && row.goneAtMs === null
}

function onlyOnce(items: readonly ReportedInstance[]): ReadonlyMap<string, ReportedInstance> {
  const found = new Map<string, ReportedInstance>()
  for (const item of items) {
    const key = keyOf(item.type, item.instance)
    if (!found.has(key)) found.set(key, item)
  }
  return found
}

/** Of several that were called so one after the other, the last. */
function latestGone(rows: readonly StandingInstance[]): ReadonlyMap<string, StandingInstance> {
  const found = new Map<string, StandingInstance>()
  for (const row of rows) {
    if (row.ref === null || row.goneAtMs === null) continue
    const key = keyOf(row.type, row.ref)
    if ((found.get(key)?.goneAtMs ?? 0) <= row.goneAtMs) found.set(key, row)
  }
  return found
}

/** @param row one that is gone, and was called as `item` is */
function isSame({ type, configHash, goneAtMs }: StandingInstance, item: ReportedInstance, nowMs: number): boolean {
  if (!REF_IS_NAME[type] || nowMs - (goneAtMs ?? 0) <= MAX_AWAY_MS) return true
  return configHash !== null && configHash === item.configHash
}

function isChanged(row: StandingInstance, item: ReportedInstance): boolean {
  return (
    row.name !== item.name ||
    row.state !== item.state ||
    row.configHash !== item.configHash ||
    JSON.stringify(mountsOf(row.mounts)) !== JSON.stringify(mountsOf(item.mounts))
  )
}

/** jsonb has its own sequence of members. */
function mountsOf(mounts: ReportedInstance['mounts']) {
  return mounts.map(({ destination, source, kind, volume, readonly }) => [destination, source, kind, volume, readonly])
}

function problemsOf(types: readonly ListedType[], present: Iterable<StandingInstance>): readonly InstanceProblem[] {
  const served = new Set(types.map(({ type }) => type))
  const left = new Set([...present].map(({ type }) => type).filter((type) => !served.has(type)))
  return [
    ...types.flatMap(({ type, problem }) => (problem === null ? [] : [{ type, message: problem }])),
    ...[...left].map((type) => ({ type, message: 'the host serves none of them any more; what it had is kept' })),
  ]
}
