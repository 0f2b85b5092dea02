import type { Audit } from './audit.ts'
import type { Datasets } from './datasets.ts'
import type { Feed } from './feed.ts'
import type { Hosts } from './hosts.ts'
import type { Jobs } from './jobs.ts'
import type { Sessions } from './sessions.ts'
import type { Snapshots } from './snapshots.ts'

/** The domain, as dialects see it. */
export interface Core {
  readonly audit: Audit
  readonly datasets: Datasets
  readonly snapshots: Snapshots
  readonly jobs: Jobs
  readonly hosts: Hosts
  readonly feed: Feed
  readonly sessions: Sessions
}
