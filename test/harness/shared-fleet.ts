import type { ExecutionContext, TestFn } from 'ava'
import { type AgentWish, startFleet, type TestFleet } from './fleet.ts'

type CleanUp = () => unknown

/** For what all tests of a file share: made before them, and gone after them in reverse order. */
export interface FileScope {
  teardown(act: CleanUp): void
}

const LOG_CHARACTERS = 4_000

/**
 * One fleet for all tests of a file, which run one after another.
 * @param prepare says what it is made of; undefined when this machine cannot offer that, and then no test may ask for it
 * @returns gives a test the fleet and what was prepared; says what the agents logged when that test fails
 */
export function sharedFleet<Made extends { readonly agents: readonly AgentWish[] }>(
  test: TestFn,
  prepare: (scope: FileScope) => Promise<Made | undefined> | Made | undefined,
): (t: ExecutionContext) => Made & { readonly fleet: TestFleet } {
  const cleanUps: CleanUp[] = []
  let shared: (Made & { readonly fleet: TestFleet }) | undefined
  test.before(async () => {
    const teardown = (act: CleanUp) => void cleanUps.push(act)
    const made = await prepare({ teardown })
    if (made === undefined) return
    const fleet = await startFleet({ teardown, passed: true, log: QUIET }, made)
    shared = { ...made, fleet }
  })
  test.after.always(async () => {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp()
  })
  return (t) => {
    if (shared === undefined) throw new Error('this machine has no such fleet')
    const { fleet, agents } = shared
    t.teardown(() => {
      if (t.passed) return
      for (const plane of fleet.planes) t.log(plane.spec.name, plane.log().slice(-LOG_CHARACTERS))
      for (const { name } of agents) t.log(name, fleet.agent(name).log().slice(-LOG_CHARACTERS))
    })
    return shared
  }
}

const QUIET: ExecutionContext['log'] = Object.assign(() => undefined, { skip: () => undefined })
