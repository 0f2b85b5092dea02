import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** How our two programs are run wherever we run them: `npm start`, the systemd units (a test compares), the benches. */

interface Program {
  readonly flags: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

/** An agent is a guest on a storage host: these keep an idle one below 75 MiB. */
export const AGENT: Program = {
  flags: ['--max-semi-space-size=1', '--no-parallel-scavenge', '--optimize-for-size', '--no-maglev'],
  environment: { MALLOC_ARENA_MAX: '1' },
}

/** Node would let the young generation grow with the machine's memory; 10,000 beating hosts need none of that. */
export const CONTROL_PLANE: Program = {
  flags: ['--max-semi-space-size=16'],
  environment: { MALLOC_ARENA_MAX: '2' },
}

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
