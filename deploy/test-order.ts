/**
 * Files whose tests take longest, the longest first: two files run at a time, and one of these must not begin when all others are done.
 * `npm test` closes with the longest of its run; `test/tidy.test.ts` knows that all of these are there.
 */
export const LONGEST: readonly string[] = [
  'test/e2e/agent-identity.test.ts',
  'test/faults/survival.test.ts',
  'agent/instances/docker/docker-driver.test.ts',
  'agent/instances/lxc/lxc-driver.test.ts',
  'test/e2e/qnap-containers.test.ts',
  'test/agent-points-remote.test.ts',
  'test/e2e/points-remote.test.ts',
  'test/agent-points-faults.test.ts',
  'test/faults/points-kill.test.ts',
  'test/agent-points.test.ts',
  'test/e2e/qnap-backup.test.ts',
  'test/e2e/zerofs.test.ts',
  'test/faults/points-outage.test.ts',
  'test/e2e/audit.test.ts',
  'agent/archive/stamps.test.ts',
  'agent/archive/changes.test.ts',
]

/** Compares absolute paths: the longest files first, the others by name. */
export function longestFirst(a: string, b: string): number {
  return rank(a) - rank(b) || (a < b ? -1 : 1)
}

function rank(file: string): number {
  const at = LONGEST.findIndex((name) => file.endsWith(`/${name}`))
  return at === -1 ? LONGEST.length : at
}
