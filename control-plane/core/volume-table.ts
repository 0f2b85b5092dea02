import type { ExportRow, VolumeRow, VolumeSnapshotRow } from './volume-book.ts'

/** Rows as a table keeps them. */
export type KeptVolume = Pick<
  VolumeRow,
  'id' | 'groupId' | 'poolId' | 'path' | 'lane' | 'sizeBytes' | 'state' | 'device' | 'guid' | 'origin'
>
export type KeptExport = Pick<
  ExportRow,
  'id' | 'groupId' | 'poolId' | 'wwn' | 'volume' | 'initiators' | 'chapUser' | 'isReadonly' | 'secretId' | 'state'
>
export type KeptSnapshot = Pick<VolumeSnapshotRow, 'id' | 'path' | 'sizeBytes' | 'guid' | 'state'>

/** What was read of rows, lanes, pools and secrets that some jobs' ends are about. */
export interface VolumeFacts {
  readonly volumes: readonly KeptVolume[]
  readonly snapshots: readonly KeptSnapshot[]
  readonly exports: readonly KeptExport[]
  /** Lanes that other open jobs want, which make things. */
  readonly madeByOthers: ReadonlySet<string>
  /** Pools of the jobs' hosts. */
  readonly pools: readonly {
    readonly jobId: string
    readonly id: string
    readonly name: string
    readonly localName: string
  }[]
  readonly secrets: ReadonlyMap<string, string>
  /** Exports whose rows came with one of the jobs that end. */
  readonly ordered: readonly { readonly exportId: string; readonly jobId: string }[]
}

/** Rows as they stand and as they are to stand: what several ends make of them, one after the other. */
export interface VolumeTable {
  volume(id: string | undefined): KeptVolume | undefined
  snapshot(id: string | undefined): KeptSnapshot | undefined
  export(id: string | undefined): KeptExport | undefined
  /** Of a place the one that does not go. */
  standing(lane: string): KeptVolume | undefined
  standingSnapshot(path: string | undefined): KeptSnapshot | undefined
  standingExport(wwn: string): KeptExport | undefined
  isMadeByOthers(lane: string): boolean
  /** Whether the export's row came with that job, which ends. */
  isOrderedBy(exportId: string, jobId: string): boolean
  pool(jobId: string, localName: string): { readonly id: string; readonly name: string } | undefined
  secretOf(jobId: string): string | null
  keepVolume(row: KeptVolume): void
  keepSnapshot(row: KeptSnapshot): void
  keepExport(row: KeptExport): void
  dropVolume(id: string): void
  dropSnapshot(id: string): void
  dropExport(id: string): void
  /** What has become of them. */
  changes(): {
    readonly volumes: readonly KeptVolume[]
    readonly snapshots: readonly KeptSnapshot[]
    readonly exports: readonly KeptExport[]
    readonly dropped: {
      readonly volumes: readonly string[]
      readonly snapshots: readonly string[]
      readonly exports: readonly string[]
    }
    /** Ids of secrets that some of them no longer have. */
    readonly secrets: readonly string[]
  }
}

export function createVolumeTable(facts: VolumeFacts): VolumeTable {
  const volumes = new Rows(facts.volumes)
  const snapshots = new Rows(facts.snapshots)
  const exports = new Rows(facts.exports)
  const pools = new Map(facts.pools.map((pool) => [`${pool.jobId} ${pool.localName}`, pool]))
  return {
    volume: (id) => volumes.get(id),
    snapshot: (id) => snapshots.get(id),
    export: (id) => exports.get(id),
    standing: (lane) => volumes.find((row) => row.lane === lane && row.state !== 'deleting'),
    standingSnapshot: (path) => snapshots.find((row) => row.path === path && row.state !== 'deleting'),
    standingExport: (wwn) => exports.find((row) => row.wwn === wwn && row.state !== 'deleting'),
    isMadeByOthers: (lane) => facts.madeByOthers.has(lane),
    isOrderedBy: (exportId, jobId) => facts.ordered.some((one) => one.exportId === exportId && one.jobId === jobId),
    pool: (jobId, localName) => pools.get(`${jobId} ${localName}`),
    secretOf: (jobId) => facts.secrets.get(jobId) ?? null,
    keepVolume: (row) => volumes.keep(row),
    keepSnapshot: (row) => snapshots.keep(row),
    keepExport: (row) => exports.keep(row),
    dropVolume: (id) => volumes.drop(id),
    dropSnapshot: (id) => snapshots.drop(id),
    dropExport: (id) => exports.drop(id),
    changes: () => ({
      ...{ volumes: volumes.kept(), snapshots: snapshots.kept(), exports: exports.kept() },
      dropped: { volumes: volumes.dropped(), snapshots: snapshots.dropped(), exports: exports.dropped() },
      secrets: [...facts.secrets.values(), ...facts.exports.flatMap(({ secretId }) => secretId ?? [])],
    }),
  }
}

class Rows<Row extends { readonly id: string }> {
  readonly #rows: Map<string, Row>
  readonly #kept = new Set<string>()
  readonly #dropped = new Set<string>()

  constructor(rows: readonly Row[]) {
    this.#rows = new Map(rows.map((row) => [row.id, row]))
  }

  get(id: string | undefined): Row | undefined {
    return id === undefined ? undefined : this.#rows.get(id)
  }

  find(matches: (row: Row) => boolean): Row | undefined {
    for (const row of this.#rows.values()) if (matches(row)) return row
    return undefined
  }

  keep(row: Row): void {
    this.#rows.set(row.id, row)
    this.#kept.add(row.id)
  }

  drop(id: string): void {
    this.#rows.delete(id)
    this.#kept.delete(id)
    this.#dropped.add(id)
  }

  kept(): readonly Row[] {
    return [...this.#kept].flatMap((id) => this.#rows.get(id) ?? [])
  }

  dropped(): readonly string[] {
    return [...this.#dropped]
  }
}
