import { type Caller, requireFleetRole } from './caller.ts'
import type { Page, PageRequest } from './page.ts'

/** A backup of the control plane's own database, and of its keys where they are encrypted. */
export interface StationBackup {
  readonly id: string
  readonly trigger: 'due' | 'asked'
  readonly state: 'running' | 'good' | 'failed'
  readonly askedBy: string
  readonly startedAt: Date
  readonly endedAt: Date | null
  /** Where it lies, on the replica that made it; null unless it is good. */
  readonly file: string | null
  readonly storedBytes: number | null
  /** Of the file. */
  readonly sha256: string | null
  readonly encrypted: boolean | null
  /** Whether the keys are in it. */
  readonly keys: boolean | null
  /** Why it failed. */
  readonly reason: string | null
  /** When it made way for newer ones; null while it is kept. */
  readonly evictedAt: Date | null
}

/** The station looks after itself. For admins of the fleet. */
export interface Station {
  /** Newest first. @throws forbidden */
  backups(caller: Caller, page: PageRequest): Promise<Page<StationBackup>>
  /** Begins one and does not wait for it. @throws forbidden; unavailable where there is no place for it; conflict while one is made. */
  backUp(caller: Caller): Promise<StationBackup>
}

export interface StationDeps {
  readonly list: (page: PageRequest) => Promise<Page<StationBackup>>
  readonly begin: (caller: Caller) => Promise<StationBackup>
}

export function createStation({ list, begin }: StationDeps): Station {
  return {
    async backups(caller, page) {
      requireFleetRole(caller, 'admin')
      return list(page)
    },
    async backUp(caller) {
      requireFleetRole(caller, 'admin')
      return begin(caller)
    },
  }
}

/** A replica that stopped in the middle of one is tried again after so long; so is one that failed. */
const RETRY_MS = 3_600_000
/** How long after its due instant one may begin, and how long it may take, before somebody is told. */
const GRACE_MS = 3_600_000

export interface BackupQuestion {
  readonly nowMs: number
  /** The newest due instant that has come. */
  readonly dueMs: number
  /** When the newest good one began; null: there is none. */
  readonly goodMs: number | null
  /** When the newest that failed began. */
  readonly failedMs: number | null
  /** When the one that is under way began. */
  readonly runningMs: number | null
}

/** Whether one is to be made now, and whether somebody must be told that one is missing. A station without any makes one at once. */
export function decideBackup({ nowMs, dueMs, goodMs, failedMs, runningMs }: BackupQuestion): {
  readonly run: boolean
  readonly overdue: boolean
} {
  const isMet = goodMs !== null && goodMs >= dueMs
  const hasFailed = failedMs !== null && failedMs >= dueMs
  return {
    run: !isMet && !(hasFailed && nowMs - failedMs < RETRY_MS),
    overdue: !isMet && (hasFailed || nowMs - Math.max(dueMs, runningMs ?? 0) > GRACE_MS),
  }
}
