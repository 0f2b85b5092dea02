import type { JobState } from '../../shared/job-machine.ts'
import type { LunConnection } from '../../shared/volume-spec.ts'
import type { Caller } from './caller.ts'
import type { LentLun, LunInitiator } from './lending.ts'
import type { NewVolumeBackup, VolumeBackupInfo } from './volume-backups.ts'

/**
 * What is borrowed of the block service behind us for one point or one restore.
 *
 * `read`: snapshot → copy → connect → work → disconnect → drop-copy → drop-snapshot, and it is gone.
 * `write`: make → reserve → connect → work → disconnect → release, and it is gone; or, where it failed, drop-volume first.
 *
 * Whatever fails goes on at `disconnect`: what comes from there on finds what there is, and tolerates what there is not. In `work` there is a
 * job; before it, the loan alone stands for the backup's being made or restored.
 */
export const LOAN_PHASES = [
  ...(['snapshot', 'copy', 'make', 'reserve', 'connect', 'work'] as const),
  ...(['disconnect', 'release', 'drop-copy', 'drop-snapshot', 'drop-volume'] as const),
] as const
export type LoanPhase = (typeof LOAN_PHASES)[number]

/** Before it has a job. */
export const PENDING_PHASES = ['snapshot', 'copy', 'make', 'reserve', 'connect'] as const satisfies LoanPhase[]

export interface Loan {
  readonly id: string
  readonly groupId: string
  readonly backupId: string
  readonly kind: 'read' | 'write'
  /** In the service behind us. */
  readonly project: string
  /** The one that is backed up; or the one that is made, null until the service has told which. */
  readonly volumeId: string | null
  /** The one that the client named; null: one is made. */
  readonly snapshotId: string | null
  readonly sizeBytes: number
  /** The host that must do it; null: whichever can. */
  readonly host: string | null
  /** As whom that one logs in, as soon as anybody may have been let in. */
  readonly initiator: string | null
  readonly connection: LunConnection | null
  readonly phase: LoanPhase
  readonly phaseAt: Date
  /** How often it was looked at in this phase. */
  readonly looks: number
  readonly job: { readonly id: string; readonly state: JobState | null } | null
  readonly failReason: string | null
}

/** What the service's snapshot, and the volume made of it, are called; and what a volume is marked with that is being restored. */
export function loanName(id: string): string {
  return `holdfast-${id}`
}
export const LOAN_MARK = 'holdfast-restore'

export type NewLoan = Pick<
  Loan,
  'id' | 'groupId' | 'backupId' | 'kind' | 'project' | 'volumeId' | 'snapshotId' | 'sizeBytes' | 'host'
>

/** What Postgres does for loans. */
export interface LoanStore {
  /** The loan, and the backup that it is for where that is new, with its audit. @returns false where there is a backup of that id already */
  beginBackup(
    caller: Caller,
    loan: NewLoan,
    backup: NewVolumeBackup & { readonly project: string; readonly seriesId: string },
  ): Promise<boolean>
  /** For a backup that is there, and idle. @returns false where it is not, or has another version by now */
  begin(caller: Caller, loan: NewLoan, backup: Pick<VolumeBackupInfo, 'version' | 'name'>): Promise<boolean>
  /** The service has said which volume it makes. @returns false where the loan was given up meanwhile */
  made(id: string, volumeId: string): Promise<boolean>
  /** Undefined: it is gone. */
  phaseOf(id: string): Promise<LoanPhase | undefined>
  /** Nothing came of it, and nothing is left: as if it had not been. */
  forget(id: string): Promise<void>
  /** Those whose time has come, each left to this caller for a while. */
  claim(limit: number): Promise<readonly Loan[]>
  /** It is looked at again then. Nothing, where it is in another phase by now. */
  wait(loan: Pick<Loan, 'id' | 'phase'>, ms: number): Promise<void>
  turn(loan: Pick<Loan, 'id' | 'phase'>, to: LoanPhase): Promise<void>
  /** It is wound up from here on; what it was for is told of that where there was no job to tell. */
  fail(loan: Pick<Loan, 'id' | 'phase' | 'backupId' | 'kind'>, reason: string): Promise<void>
  /** Kept before anybody is let in. */
  choose(loan: Pick<Loan, 'id' | 'phase'>, who: LunInitiator): Promise<void>
  /** With the secret, sealed; of an earlier try in its place. */
  connected(loan: Pick<Loan, 'id' | 'phase' | 'groupId'>, lun: LentLun): Promise<LunConnection>
  /** Nobody is let in any more. */
  disconnected(loan: Pick<Loan, 'id' | 'phase'>, to: LoanPhase): Promise<void>
  drop(loan: Pick<Loan, 'id' | 'phase'>): Promise<void>
  /** Of the backup's points, which there may not be yet. */
  seriesOf(backupId: string): Promise<string | undefined>
}
