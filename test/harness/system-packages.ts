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

/** Declares a test that waits for its turn; with a reason against it, it says why it is skipped, and counts as skipped. */
export function testUnless(reason: string | undefined) {
  return (title: string, run: (t: ExecutionContext) => void | Promise<void>): void => {
    test.serial(title, (t) => {
      if (reason === undefined) return run(t)
      t.log(`SKIPPED: ${reason}`)
      t.pass()
    })
  }
}
