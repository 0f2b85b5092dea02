import type { Caller } from './caller.ts'
import type { Accepted } from './datasets.ts'
import type { ExportBatchFacts } from './export-batch.ts'
import type { KeptJob } from './jobs.ts'
import type { Page, PageRequest } from './page.ts'

/** An iSCSI LUN over a volume. */
export interface ExportInfo {
  readonly id: string
  readonly groupId: string
  /** The target's iSCSI name, in lower case; one export has it, fleet-wide. */
  readonly wwn: string
  /** `<pool>/<name>`. */
  readonly volume: string
  readonly host: string
  readonly initiators: readonly string[]
  readonly chapUser: string | null
  /** The target refuses whatever would change the volume. */
  readonly isReadonly: boolean
  readonly state: 'creating' | 'available' | 'deleting'
  readonly createdAt: Date
  readonly version: number
}

/** As its host tells it this moment; undefined where that is silent. */
export interface LiveExport {
  readonly portal: string
  /** Which LUN of the target the volume is: not 0 where the technology keeps that for its controller. */
  readonly lun: number
  /** False: the target is being made again, or cannot be, its volume being away. */
  readonly standing?: boolean
  readonly sessions: readonly { readonly initiator: string; readonly address: string }[]
}

/** One of a list: a volume, cloned if it is not there, under a wwn. */
export interface WantExport {
  /** `<pool>/<volume>@<snapshot>`; absent: `volume` is there already. */
  readonly source?: string | undefined
  /** `<pool>/<volume>`. */
  readonly volume: string
  readonly wwn: string
  readonly initiators: readonly string[]
  readonly createParent?: boolean | undefined
  readonly isReadonly?: boolean | undefined
  /** An export that is there for other initiators, or the other way to be written to, is not changed: conflict. */
  readonly isSole?: boolean | undefined
  readonly chap?: { readonly user: string; readonly secret: string } | undefined
}

export interface Unexport {
  readonly volume: string
  readonly wwn: string
  readonly deleteVolume?: boolean | undefined
  /** Close sessions; else an export with one is `in use`. */
  readonly force?: boolean | undefined
  /** Of the export; another one by now is `stale`. */
  readonly version?: number | undefined
  /** Of a removal that is tried again: these rows, not what has their names by now. */
  readonly only?: { readonly exportId?: string | undefined; readonly volumeId?: string | undefined } | undefined
}

export interface ElementFailure {
  /** Of the list that was asked for, from 0. */
  readonly n: number
  readonly code: string
  readonly message: string
  /** Of a removal: the export itself is gone, and only its volume stayed. */
  readonly unexported?: boolean | undefined
}

/** A list of exports made or removed: at most one job a host that has some of them. */
export interface ExportBatch {
  readonly id: string
  readonly groupId: string
  readonly type: 'create' | 'delete'
  readonly requested: number
  readonly createdAt: Date
  /** Of the first job that began, and the last that ended. */
  readonly startedAt: Date | null
  readonly endedAt: Date | null
  /** Each of its jobs, by host. */
  readonly jobs: readonly {
    readonly id: string
    readonly host: string
    readonly state: string
    /** What it does now, as its agent tells: `clone`, `devices`, `targets`, …; null: nothing yet. */
    readonly phase: string | null
    /** Elements that it finished, failed ones too, while it runs. */
    readonly finished: number
    readonly error: string | null
  }[]
  /** How far it is, all its jobs together. */
  readonly phase: 'pending' | 'clone' | 'devices' | 'targets' | 'ended'
  /** Elements that are done with that phase, failed ones too. */
  readonly passed: number
  /** Elements that ended, failed ones too. */
  readonly finished: number
  readonly done: readonly {
    readonly n: number
    /** Its volume was cloned or found; of a removal: it is gone, because that was asked for. */
    readonly volume: boolean
    readonly reused: boolean
    readonly diverged: boolean
  }[]
  readonly errors: readonly ElementFailure[]
  /** The longest of its jobs in each, as they run side by side. */
  readonly times: { readonly cloneSeconds: number; readonly deviceSeconds: number; readonly targetSeconds: number }
}

/** `jobIds`: one a host; none where no element could be ordered. */
export interface AcceptedExports {
  readonly batchId: string
  readonly jobIds: readonly string[]
}

export interface OrderedExports {
  /** The client waits for the end: hosts begin soon or not at all. */
  readonly isWaited?: boolean
}

/** Exports of the caller's group. */
export interface Exports {
  /**
   * Answers as soon as all its jobs are durable. What cannot be ordered (an unknown pool, a wwn that serves another volume or group, an offline
   * host) fails that element alone. @throws invalid (naming `clones[n].field`), forbidden; unavailable when offline hosts are all that stands
   * in the way of every element.
   */
  create(caller: Caller, wanted: readonly WantExport[], how?: OrderedExports): Promise<AcceptedExports>
  /** What is absent is removed already. @throws as `create`. */
  remove(caller: Caller, asked: readonly Unexport[], how?: OrderedExports): Promise<AcceptedExports>
  /** @throws not_found. */
  batch(caller: Caller, id: string): Promise<ExportBatch>
  get(caller: Caller, idOrWwn: string): Promise<ExportInfo & { readonly live: LiveExport | undefined }>
  list(
    caller: Caller,
    filter: { readonly host?: string | undefined; readonly volume?: string | undefined },
    page: PageRequest,
  ): Promise<Page<ExportInfo & { readonly live: LiveExport | undefined }>>
}

/** What Postgres must answer for exports. `groupId` null: of any group. */
export interface ExportReader {
  batch(groupId: string | null, id: string): Promise<ExportBatchFacts | undefined>
  find(groupId: string | null, idOrWwn: string): Promise<ExportInfo | undefined>
  list(
    groupId: string | null,
    filter: { readonly host?: string | undefined; readonly volume?: string | undefined },
    page: PageRequest,
  ): Promise<Page<ExportInfo>>
}

/** What dialects do not need: retries, and what keeps hosts at what Postgres says. */
export interface ExportOrders extends Exports {
  /** Asks again what a job was asked. */
  again(caller: Caller, job: KeptJob): Promise<Accepted>
  /** Tells a host all that it is to export. @throws conflict while jobs about its exports are open, or when it was told a moment ago. */
  reconcile(
    caller: Caller,
    host: string,
    given?: { readonly retryOf?: string; readonly now?: boolean },
  ): Promise<Accepted>
}
