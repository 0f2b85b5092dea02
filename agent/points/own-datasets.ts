import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { HostName, Id } from '../../shared/ids.ts'
import { VolumePath } from '../../shared/volume-spec.ts'
import { replaceFile, syncDirectory } from './durable-file.ts'

const OwnDataset = z.object({
  pool: HostName,
  dataset: Id,
  /** Of a capture, which has `dataset` for its id: the volume. Without one it is a dataset of that name. */
  volume: VolumePath.optional(),
  /** Of that volume when it was first captured: another may have its name since. */
  guid: z.string().optional(),
  /** `job`: it goes with the job. `base`: what the next increment of the series is compared with; the newest by `at`, in milliseconds. */
  use: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('job'), jobId: Id }),
    z.object({ kind: z.literal('base'), source: z.string().min(1), series: z.string(), at: z.number() }),
  ]),
})
export type OwnDataset = z.infer<typeof OwnDataset>

/**
 * Datasets, snapshots and captures of volumes that the agent made for itself, which nobody else knows of: written down before they are made, so
 * that none outlives its use, whatever ends this process.
 */
export interface OwnDatasets {
  /** Durable when it returns; takes the place of what was said of this dataset before. */
  claim(own: OwnDataset): void
  /** Once it is destroyed, or is somebody else's. */
  forget(dataset: string): void
  has(dataset: string, use: OwnDataset['use']['kind']): boolean
  all(): readonly OwnDataset[]
  /** What is kept of this dataset. */
  basesOf(source: string): readonly OwnDataset[]
  /** Those that stand where a newer one of the same series does. */
  superseded(): readonly OwnDataset[]
}

/** @param folder made where it is missing */
export function openOwnDatasets(folder: string): OwnDatasets {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const known = new Map<string, OwnDataset>()
  for (const name of readdirSync(folder)) {
    const own = name.endsWith('.json')
      ? OwnDataset.safeParse(parse(readFileSync(join(folder, name), 'utf8')))
      : undefined
    if (own?.success) known.set(own.data.dataset, own.data)
  }
  return {
    claim(own) {
      replaceFile(join(folder, `${own.dataset}.json`), `${JSON.stringify(own)}\n`)
      known.set(own.dataset, own)
    },
    forget(dataset) {
      if (!known.delete(dataset)) return
      rmSync(join(folder, `${dataset}.json`), { force: true })
      syncDirectory(folder)
    },
    has: (dataset, use) => known.get(dataset)?.use.kind === use,
    all: () => [...known.values()],
    basesOf: (source) => [...known.values()].filter(({ use }) => use.kind === 'base' && use.source === source),
    superseded: () => [...known.values()].filter((own) => [...known.values()].some((other) => supersedes(other, own))),
  }
}

function supersedes({ use: newer }: OwnDataset, { use }: OwnDataset): boolean {
  if (newer.kind !== 'base' || use.kind !== 'base') return false
  return newer.source === use.source && newer.series === use.series && newer.at > use.at
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // `replaceFile` leaves none torn: whatever it is, it is not ours
  }
}
