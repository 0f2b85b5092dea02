import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { filesToTryAgain, summaryOfBoth } from './second-try.ts'
import { createSlowestFiles } from './slowest-files.ts'
import { createTestTally, type Outcome, summaryOf } from './test-tally.ts'
import { createFileFinder, testFiles } from './test-titles.ts'

const AVA = join(import.meta.dirname, '../node_modules/ava/entrypoints/cli.js')

interface Project {
  readonly folder: string
  readonly say: (line: string) => void
}

/**
 * Runs ava and closes with one plain line, `N passed, N failed, N skipped`. When all of the suite was asked for and a few tests failed,
 * their files run once more and the outcome is what that says. @returns ava's exit code
 */
export async function runSuite({ folder, say }: Project, args: readonly string[]): Promise<number> {
  const slowest = createSlowestFiles()
  const first = await runAva({ folder, say }, args, slowest.read)
  if (slowest.summary() !== '') say(`longest: ${slowest.summary()}`)
  const again = args.length === 0 ? filesToTryAgain(first, createFileFinder(testFiles(folder))) : undefined
  if (again === undefined) {
    say(summaryOf(first))
    return first.exitCode
  }
  for (const failure of first.failures) say(`second try: ${failure}`)
  const second = await runAva({ folder, say }, ['--concurrency', '1', ...again])
  say(summaryOfBoth(first, second))
  return second.exitCode
}

interface Ran extends Outcome {
  readonly exitCode: number
}

async function runAva(
  { folder, say }: Project,
  args: readonly string[],
  watch: (line: string) => void = () => undefined,
): Promise<Ran> {
  const child = spawn(process.execPath, [AVA, ...args], {
    cwd: folder,
    stdio: ['inherit', 'pipe', 'inherit'],
    env: { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}) },
  })
  const deadly = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const pass = (signal: NodeJS.Signals) => void child.kill(signal)
  const end = () => void child.kill('SIGTERM')
  for (const name of deadly) process.on(name, pass)
  process.once('disconnect', end)
  const tally = createTestTally()
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    tally.read(line)
    watch(line)
    say(line)
  })
  const [[code, signal]] = await Promise.all([once(child, 'exit'), once(lines, 'close')])
  for (const name of deadly) process.off(name, pass)
  process.off('disconnect', end)
  const exitCode: number = code ?? 128 + (constants.signals[signal as NodeJS.Signals] ?? 0)
  return { ...tally.outcome(exitCode), exitCode }
}
