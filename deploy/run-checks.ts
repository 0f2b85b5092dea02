import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { ensurePackages } from './ensure-packages.ts'
import { StartError } from './start-error.ts'

interface Check {
  readonly name: string
  readonly args: readonly string[]
}

/** All run on Node itself: a program of node_modules is named by its script. */
const CHECKS: readonly Check[] = [
  { name: 'format and lint', args: ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'] },
  { name: 'types', args: ['node_modules/typescript/bin/tsc', '--project', '.'] },
  { name: 'dead code', args: ['node_modules/knip/bin/knip.js', '--config', 'deploy/knip.json'] },
  { name: 'tidy', args: ['node_modules/ava/entrypoints/cli.js', 'test/tidy.test.ts'] },
  { name: 'openapi drift', args: ['control-plane/http/write-openapi.ts', '--check'] },
  { name: 'schema drift', args: ['test/harness/dump-schema.ts', '--check'] },
]
const CHECK_TIMEOUT_MS = 5 * 60_000

/** @returns its output when it failed. */
async function failureOf({ args }: Check, signal: AbortSignal): Promise<string | undefined> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: CHECK_TIMEOUT_MS, signal })
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
  return code === 0 ? undefined : `${stdout}${stderr}`.trimEnd()
}

async function runChecks(signal: AbortSignal): Promise<number> {
  const failures: string[] = []
  for (const check of CHECKS) {
    const startedAt = performance.now()
    const failure = await failureOf(check, signal)
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
    console.log(`${failure === undefined ? 'ok    ' : 'FAILED'} ${check.name} (${seconds} s)`)
    if (failure !== undefined) failures.push(`\n--- ${check.name}\n${failure}`)
  }
  for (const failure of failures) console.error(failure)
  return failures.length === 0 ? 0 : 1
}

try {
  await ensurePackages('check', { say: (line) => console.log(line) })
} catch (error) {
  if (!(error instanceof StartError)) throw error
  console.error(`holdfast: ${error.message}`)
}
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const) process.once(signal, () => stop.abort())
process.exit(await runChecks(stop.signal).catch(() => 1))
