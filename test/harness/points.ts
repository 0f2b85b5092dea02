import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { openPoints, type Points, type PointsConfig } from '../../agent/points/open-points.ts'
import type { Unseal } from '../../agent/points/targets.ts'
import { temporaryDirectory } from './loop-mount.ts'

/** What an agent has for work on points, with a state directory of this test's own and targets on this machine allowed. */
export function pointsOf(
  t: Pick<ExecutionContext, 'teardown'>,
  config: Partial<PointsConfig> = {},
  unseal?: Unseal,
): Points & { readonly state: string } {
  const state = config.state ?? temporaryDirectory(t)
  const backupRoot = config.backupRoot ?? join(state, 'backups')
  const points = openPoints(
    { state, backupRoot, sourcePaths: [], poolPaths: [], allowLoopback: true, ...config },
    unseal,
  )
  t.teardown(() => points[Symbol.asyncDispose]())
  return { ...points, state }
}
