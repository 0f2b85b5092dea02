import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { PointRef } from '../../../shared/point-spec.ts'
import type { Chain } from '../../archive/chain.ts'
import { openChain } from '../../points/open-chain.ts'
import type { PointTools, TargetLease } from '../../points/point-tools.ts'
import { isPoint } from '../../points/series.ts'
import { type PointRecord, readersOf } from '../../points/series-metadata.ts'

/** What a new point completes, or why it stands alone. */
export interface Base extends AsyncDisposable {
  /** Undefined: a full one is written. */
  readonly chain: Chain | undefined
  readonly names: readonly string[]
  /** For people; null where a full one was asked for. */
  readonly fullReason: string | null
}

const MISSING = 'is missing from the target'

/** Of the points, not of the target: then a full one is as good as an increment. A target that is away fails the job. */
const UNUSABLE: Readonly<Record<string, string>> = {
  not_found: MISSING,
  corrupt: 'is damaged',
  invalid: 'does not fit the ones before it',
  refused: 'is encrypted, and this host has neither its identity nor its index',
  too_large: 'is damaged',
}

/**
 * Opens the points that an increment completes.
 * @throws what the target tells when it cannot be asked
 */
export async function openBase(
  spec: Pick<SpecOf<'point.create'>, 'target' | 'series' | 'bases' | 'fullReason' | 'consolidate'>,
  from: { readonly lease: TargetLease; readonly tools: PointTools; readonly known: readonly PointRecord[] },
  signal: AbortSignal,
): Promise<Base> {
  const { series, bases, consolidate } = spec
  if (bases.length === 0) return alone(spec.fullReason)
  const { lease, tools, known } = from
  if (consolidate && spec.target.recipients.length > 0 && lease.identities.length === 0)
    return alone('the chain is long, and merging encrypted points needs an identity that this host has not')
  const closed = consolidate ? undefined : firstClosed(bases, known, spec.target.recipients)
  if (closed !== undefined) return alone(`point ${closed} is not encrypted for all of the target's recipients`)
  const missing = await firstMissing(bases, { lease, series }, signal)
  if (missing !== undefined) return alone(`point ${missing} ${MISSING}`)
  try {
    const opened = await openChain({ lease, series, refs: bases, indexOnly: !consolidate }, tools, signal)
    const close = () => opened[Symbol.asyncDispose]()
    return { chain: opened.chain, names: bases.map(({ name }) => name), fullReason: null, [Symbol.asyncDispose]: close }
  } catch (error) {
    const why = error instanceof FleetError ? UNUSABLE[error.code] : undefined
    if (why === undefined) throw error
    const name = /^point (\S+):/.exec(error instanceof Error ? error.message : '')?.[1]
    return alone(name === undefined ? `its chain ${why}` : `point ${name} ${why}`)
  }
}

/** What is merged rests on nothing. Of a point whose readers were not told they are taken to be the same. */
function firstClosed(
  bases: readonly PointRef[],
  known: readonly PointRecord[],
  recipients: readonly string[],
): string | undefined {
  const wanted = readersOf(recipients)
  const isClosed = ({ name }: PointRef) => {
    const { readers = wanted } = known.find((record) => record.name === name) ?? {}
    return readers.length > 0 && (wanted.length === 0 || wanted.some((reader) => !readers.includes(reader)))
  }
  return bases.find(isClosed)?.name
}

/** A point whose index is kept here may still be gone from its target. */
async function firstMissing(
  bases: readonly PointRef[],
  { lease, series }: { readonly lease: TargetLease; readonly series: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const { name } of bases) {
    if (!(await isPoint({ target: lease.target, series, name }, { signal }))) return name
  }
  return undefined
}

/** Whether an increment on it need look only at what is known to differ: what could not be read then is in no list now. */
export function takesChanges({ chain }: Base): boolean {
  return chain?.points.at(-1)?.table.totals.problems === 0
}

export function alone(fullReason: string | null): Base {
  return { chain: undefined, names: [], fullReason, [Symbol.asyncDispose]: async () => undefined }
}
