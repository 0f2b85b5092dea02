import { VERSION } from '../shared/version.ts'
import { backup } from './dialects/backup/dialect.ts'
import { block } from './dialects/block/dialect.ts'
import { blockGateway } from './dialects/block/gateway.ts'
import { cloudcasa } from './dialects/cloudcasa/dialect.ts'
import { createDocsDialect } from './dialects/docs/dialect.ts'
import { emulab } from './dialects/emulab/dialect.ts'
import { createFleetDialect } from './dialects/fleet/dialect.ts'
import type { OperationsDeps } from './dialects/fleet/operations.ts'
import { createQnapDialect } from './dialects/qnap/dialect.ts'
import { zerofs } from './dialects/zerofs/dialect.ts'
import { describeAll } from './http/openapi.ts'
import type { Dialect } from './http/route.ts'

const ABOUT = {
  title: 'Holdfast',
  version: VERSION,
  description:
    'Snapshots, backups, clones and block exports over a fleet of storage hosts, in several REST dialects on one listener.',
}

export interface DialectDeps extends OperationsDeps {
  /** IANA: of times that are shown by a clock; default: the machine's. */
  readonly timezone?: string
}

const SYSTEM_ZONE = new Intl.DateTimeFormat().resolvedOptions().timeZone

/** Every dialect that is served, the fleet's own last: it answers for paths that none of the others owns. */
export function createDialects({ timezone = SYSTEM_ZONE, ...deps }: DialectDeps): readonly Dialect[] {
  const docs = createDocsDialect({ title: ABOUT.title, describe: () => describeAll(dialects, ABOUT) })
  const dialects = [
    docs,
    zerofs,
    createQnapDialect({ timezone }),
    emulab,
    backup,
    block,
    blockGateway,
    cloudcasa,
    createFleetDialect(deps),
  ]
  return dialects
}
