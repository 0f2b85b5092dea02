import type { Caller } from './caller.ts'
import type { Accepted } from './datasets.ts'

export interface RestoreSnapshot {
  readonly snapshot: string
  /** Absolute path inside the snapshot; `/` is the whole of it. */
  readonly source: string
  /** `dataset`: resolved beneath a dataset's root. `host`: an absolute path of the host, below the agent's allow-list. */
  readonly destination: { readonly kind: 'dataset' | 'host'; readonly path: string }
  /** Names another dataset on the same host; absent: the one the snapshot was taken from, or `root` if that is gone. */
  readonly dataset?: string | undefined
  readonly overwrite?: boolean | undefined
}

/** Snapshots of the caller's group. Reading and deleting them goes through `datasets`: a snapshot is one. */
export interface Snapshots {
  /** @throws not_found (source), exists (name), conflict (source being made or deleted), unavailable. */
  create(
    caller: Caller,
    request: { readonly source: string; readonly name: string; readonly readonly: boolean },
  ): Promise<Accepted>
  /** @throws not_found, invalid (not a snapshot, a path that is not absolute, a dataset on another host), conflict, unavailable. */
  restore(caller: Caller, request: RestoreSnapshot): Promise<Accepted>
}
