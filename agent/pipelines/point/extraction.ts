import type { ReadablePoint } from '../../../shared/point-spec.ts'
import type { BytePath } from '../../archive/byte-path.ts'
import { type Extracted, extract } from '../../archive/extract.ts'
import type { BuildPolicy } from '../../archive/read/tree-builder.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { declaredBounds, withinBounds } from '../../points/bounds.ts'
import { type OpenChain, openChain } from '../../points/open-chain.ts'
import type { PointTools } from '../../points/point-tools.ts'
import { Rated } from '../../points/rate.ts'
import type { StepContext } from '../pipeline.ts'

export type ExtractPolicy = Omit<BuildPolicy, 'ordered'>

/** Members go where their tree will be: whoever may not make devices makes none. */
export const INTO_DATASET: ExtractPolicy = {
  devices: process.geteuid?.() === 0 ? 'make' : 'refuse',
  symlinks: 'keep',
}
/** A directory of the host is others' too: no devices, and no link that leads out of what is restored. */
export const ONTO_HOST: ExtractPolicy = { devices: 'refuse', symlinks: 'inside' }

/** A target and the points of a chain on it, open for an order. */
export interface OpenPoint extends OpenChain {
  readonly tools: PointTools
}

export async function openPoint(
  point: ReadablePoint,
  tools: PointTools,
  { secret, jobId, signal }: Pick<StepContext, 'secret' | 'jobId' | 'signal'>,
): Promise<OpenPoint> {
  const lease = await tools.lease({ target: point.target, sealed: secret, context: `order/${jobId}` })
  try {
    const { series, chain: refs } = point
    const opened = await openChain({ lease, series, refs, indexOnly: false }, tools, signal)
    return {
      chain: opened.chain,
      tools,
      async [Symbol.asyncDispose]() {
        await opened[Symbol.asyncDispose]()
        await lease[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await lease[Symbol.asyncDispose]()
    throw error
  }
}

export interface Part {
  readonly path: BytePath
  /** An empty directory, open for reading. */
  readonly rootFd: number
}

/**
 * Extracts one part after the other, within what the point declares, and puts all of it on disk.
 * @returns `seconds` from the first byte read to the last one on disk
 */
export async function extractParts(
  point: OpenPoint,
  request: { readonly parts: readonly Part[]; readonly policy: ExtractPolicy },
  context: Pick<StepContext, 'signal' | 'progress'>,
): Promise<Extracted & { readonly seconds: number }> {
  const { chain, tools } = point
  const bounds = declaredBounds(chain)
  const turn = await tools.turn(context.signal)
  const begunMs = performance.now()
  try {
    const isWhole = request.parts.length === 1 && request.parts[0]?.path === ''
    using rated = new Rated(context.progress, isWhole && chain.points.length === 1 ? totalsOf(point) : {})
    let [files, bytes] = [0, 0]
    for (const { path, rootFd } of request.parts) {
      const watch = {
        signal: context.signal,
        progress: (now: Parameters<typeof rated.progress>[0]) =>
          rated.progress({ ...now, files: files + (now.files ?? 0), bytes: bytes + (now.bytes ?? 0) }),
      }
      const asked = { subject: 'restore', chain, path, rootFd, policy: request.policy, scratch: tools.scratch }
      const done = await withinBounds(bounds, watch, (within) => extract(asked, within))
      files += done.files
      bytes += done.bytes
    }
    const [first] = request.parts
    if (first !== undefined) await syncFileSystem(first.rootFd)
    return { files, bytes, seconds: (performance.now() - begunMs) / 1_000 }
  } finally {
    turn()
  }
}

function totalsOf({ chain }: OpenPoint) {
  const totals = chain.points[0]?.table.totals
  return totals === undefined ? {} : { totalBytes: totals.contentBytes, totalFiles: totals.members }
}
