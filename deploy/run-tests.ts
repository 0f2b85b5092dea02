import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { createInterface } from 'node:readline'
import { ensurePackages } from './ensure-packages.ts'
import { createSlowestFiles } from './slowest-files.ts'
import { StartError } from './start-error.ts'
import { createTestTally } from './test-tally.ts'

const say = (line: string) => console.log(line)

async function preparePackages(): Promise<void> {
  try {
    for (const { name, without } of await ensurePackages('test', { say }))
      say(`no ${name}: tests of ${without} are skipped`)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    say(`${error.message}; tests that need these are skipped or fail`)
  }
}

/** Runs ava and closes with one plain line, `N passed, N failed, N skipped`. @returns ava's exit code. */
async function runTests(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, ['node_modules/ava/entrypoints/cli.js', ...args], {
    stdio: ['inherit', 'pipe', 'inherit'],
    env: { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}) },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal))
  process.once('disconnect', () => child.kill('SIGTERM'))
  const tally = createTestTally()
  const slowest = createSlowestFiles()
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    tally.read(line)
    slowest.read(line)
    say(line)
  })
  const [[code, signal]] = await Promise.all([once(child, 'exit'), once(lines, 'close')])
  const exitCode: number = code ?? 128 + (constants.signals[signal as NodeJS.Signals] ?? 0)
  if (slowest.summary() !== '') say(`longest: ${slowest.summary()}`)
  say(tally.summary(exitCode))
  return exitCode
}

await preparePackages()
process.exit(await runTests(process.argv.slice(2)))
