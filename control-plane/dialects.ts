import { createFleetDialect } from './dialects/fleet/dialect.ts'
import type { OperationsDeps } from './dialects/fleet/operations.ts'
import { qnap } from './dialects/qnap/dialect.ts'
import { zerofs } from './dialects/zerofs/dialect.ts'
import type { Dialect } from './http/route.ts'

/** Every dialect that is served, the fleet's own last: it answers for paths that none of the others owns. */
export function createDialects(deps: OperationsDeps): readonly Dialect[] {
  return [zerofs, qnap, createFleetDialect(deps)]
}
