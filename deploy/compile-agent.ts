import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { AGENT } from './node-flags.ts'

/** Of what takes two seconds on a quiet machine. */
const COMPILE_TIMEOUT_MS = 30_000

/**
 * Before an agent starts, as its unit does. An agent can do without.
 * @param root of the sources @param cache a directory, `NODE_COMPILE_CACHE` of the agent too
 * @throws Error when it fails or takes too long; the signal's reason
 */
export async function compileAgent(root: string, cache: string, signal?: AbortSignal): Promise<void> {
  await promisify(execFile)(process.execPath, [...AGENT.flags, join(root, 'agent/main.ts'), 'compile'], {
    env: { ...AGENT.environment, NODE_COMPILE_CACHE: cache },
    timeout: COMPILE_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    ...(signal && { signal }),
  })
}
