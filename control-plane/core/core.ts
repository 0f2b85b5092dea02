import type { Audit } from './audit.ts'
import type { BlockAttachments } from './block-attachments.ts'
import type { BlockSnapshots, BlockVolumes } from './block-volumes.ts'
import type { Datasets } from './datasets.ts'
import type { Enrolments } from './enrolments.ts'
import type { Exports } from './exports.ts'
import type { Feed } from './feed.ts'
import type { Groups } from './groups.ts'
import type { Hosts } from './hosts.ts'
import type { InstanceBackups, InstanceSnapshots } from './instance-captures.ts'
import type { InstanceMoves } from './instance-moves.ts'
import type { Instances } from './instances.ts'
import type { Jobs } from './jobs.ts'
import type { LentVolumes } from './lent-volumes.ts'
import type { Points } from './points.ts'
import type { RestoreTasks } from './restore-tasks.ts'
import type { Schedules } from './schedules.ts'
import type { Sessions } from './sessions.ts'
import type { Snapshots } from './snapshots.ts'
import type { Station } from './station.ts'
import type { Targets } from './targets.ts'
import type { Tokens } from './tokens.ts'
import type { Users } from './users.ts'
import type { VolumeBackups } from './volume-backups.ts'
import type { Volumes } from './volumes.ts'

/** The domain, as dialects see it. */
export interface Core {
  readonly audit: Audit
  readonly datasets: Datasets
  readonly snapshots: Snapshots
  readonly points: Points
  readonly targets: Targets
  readonly schedules: Schedules
  readonly restoreTasks: RestoreTasks
  readonly instances: Instances
  readonly migrations: InstanceMoves
  readonly instanceSnapshots: InstanceSnapshots
  readonly instanceBackups: InstanceBackups
  readonly volumes: Volumes
  readonly volumeBackups: VolumeBackups
  /** Where a block service behind us is configured. */
  readonly lentVolumes?: LentVolumes | undefined
  readonly exports: Exports
  readonly blockVolumes: BlockVolumes
  readonly blockSnapshots: BlockSnapshots
  readonly blockAttachments: BlockAttachments
  readonly jobs: Jobs
  readonly hosts: Hosts
  readonly enrolments: Enrolments
  readonly feed: Feed
  readonly sessions: Sessions
  readonly users: Users
  readonly groups: Groups
  readonly tokens: Tokens
  readonly station: Station
}
