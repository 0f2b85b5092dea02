/** The document's sentences, to the letter: clients match on them. */

const LIST_HINT = 'Use GET /api/v1/datasets to list available datasets.'

/** "Error: Source is a path, not a dataset name". */
export function sourceIsPath(source: string): string {
  return `Source must be a dataset name (e.g., 'root'), not a path. Got: '${source}'. ${LIST_HINT}`
}

/** "Error: Dataset not found", of Create Snapshot. */
export function noSnapshotSource(name: string): string {
  return `${noDataset(name)} Note: ZeroFS snapshots entire datasets, not paths within datasets.`
}

export function noDataset(name: string): string {
  return `Dataset '${name}' not found. ${LIST_HINT}`
}

export function noSnapshot(name: string): string {
  return `Snapshot '${name}' not found. Use GET /api/v1/snapshots to list available snapshots.`
}

export function notASnapshot(name: string): string {
  return `'${name}' is a dataset, not a snapshot. Use GET /api/v1/snapshots to list available snapshots.`
}
