import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import type { PointRef } from '../../shared/point-spec.ts'
import { decryptedFiles } from '../archive/age/decrypted-files.ts'
import { keptIndexFiles } from '../archive/age/kept-index.ts'
import { Chain } from '../archive/chain.ts'
import { Point } from '../archive/point.ts'
import type { PointFiles } from '../archive/range-source.ts'
import type { PointTools, TargetLease } from './point-tools.ts'
import { directoryOf } from './series.ts'
import { TargetFiles } from './target-files.ts'

export interface OpenChain extends AsyncDisposable {
  readonly chain: Chain
}

export interface ChainRequest {
  readonly lease: TargetLease
  readonly series: string
  /** Oldest first. */
  readonly refs: readonly PointRef[]
  /** Only indexes will be read: those that are kept here will do. */
  readonly indexOnly: boolean
}

/** @throws not_found, corrupt, refused (encrypted, and no identity opens it), each naming the point; what the target tells */
export async function openChain(
  request: ChainRequest,
  tools: Pick<PointTools, 'indexes'>,
  signal: AbortSignal,
): Promise<OpenChain> {
  const points: Point[] = []
  const close = async () => {
    for (const point of points) await point[Symbol.asyncDispose]()
  }
  try {
    for (const ref of request.refs) points.push(await openOne(ref, request, tools, signal))
    return { chain: Chain.of(points), [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

async function openOne(
  ref: PointRef,
  request: ChainRequest,
  tools: Pick<PointTools, 'indexes'>,
  signal: AbortSignal,
): Promise<Point> {
  try {
    return await Point.open(filesOf(ref, request, tools), signal)
  } catch (error) {
    throw namingPoint(error, ref.name)
  }
}

export function filesOf(
  ref: PointRef,
  { lease, series, indexOnly }: ChainRequest,
  tools: Pick<PointTools, 'indexes'>,
): PointFiles {
  const kept = join(tools.indexes, ref.id)
  if (indexOnly && existsSync(kept)) return keptIndexFiles(kept)
  const files = new TargetFiles(lease.target, directoryOf({ series, name: ref.name }))
  return decryptedFiles(files, lease.identities)
}

const OF_THE_POINT = new Set(['not_found', 'corrupt', 'refused', 'invalid', 'too_large'])

/** What is wrong with a point says which; what is wrong with its target stays as it is. */
export function namingPoint(error: unknown, name: string): unknown {
  if (!(error instanceof FleetError) || !OF_THE_POINT.has(error.code)) return error
  const { code, field, detail } = error
  const extras = {
    ...(field === undefined ? {} : { field }),
    ...(detail === undefined ? {} : { detail }),
    cause: error,
  }
  return new FleetError(code, `point ${name}: ${error.message}`, extras)
}
