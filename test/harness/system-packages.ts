import test, { type ExecutionContext } from 'ava'
import { findPostgresFolders, findTool } from '../../deploy/tools.ts'

/** Why this machine cannot run a test that needs PostgreSQL and nats-server; undefined when it can. */
export function lacksServers(): string | undefined {
  if (findPostgresFolders().length === 0) return 'PostgreSQL is not installed'
  return lacksTool('nats-server')
}

export function lacksTool(...names: readonly string[]): string | undefined {
  const missing = names.filter((name) => findTool(name) === undefined)
  return missing.length === 0 ? undefined : `${missing.join(', ')} not installed`
}

/** Declares a test that waits for its turn; with a reason against it, it counts as skipped and its title says why. */
export function testUnless(reason: string | undefined) {
  return (title: string, run: (t: ExecutionContext) => void | Promise<void>): void => {
    if (reason === undefined) test.serial(title, run)
    else test.skip(`${title} (${reason})`, run)
  }
}
