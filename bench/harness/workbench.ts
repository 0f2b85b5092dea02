import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BenchProcess, type ProcessSpec, requireTool } from './processes.ts'
import { type Finding, table } from './report.ts'

/** On a disk, not in memory: what fsync costs is part of every figure. */
const SCRATCH = '/var/tmp'
const PREFIX = 'holdfast-bench-'
export const POOL_FOLDER = 'pool'

/** The place one bench works in. All that is begun here ends with it, whatever happens. */
export interface Workbench {
  /** A scratch directory that anybody may enter. */
  readonly folder: string
  /** Rounds of ours and of the peer, in turn. */
  readonly rounds: number
  start(spec: Omit<ProcessSpec, 'folder'>): BenchProcess
  /** One of our own programs: a path below the repository. With `--profile` a processor profile of it is kept. */
  startNode(spec: NodeSpec): BenchProcess
  defer(undo: () => void | Promise<void>): void
  /** Tells whoever watches. */
  say(text: string): void
}

export interface NodeSpec {
  readonly name: string
  readonly entry: string
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

const ROOT = join(import.meta.dirname, '../..')

/** Runs one bench from scratch directory to report. Its findings go to `run.ts` or, run by itself, to the terminal. */
export async function runBench(bench: (workbench: Workbench) => Promise<readonly Finding[]>): Promise<void> {
  const { values } = parseArgs({ options: { profile: { type: 'string' }, rounds: { type: 'string', default: '5' } } })
  removeLeftovers()
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort())
  const stopped = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true })
  })
  await using stack = new AsyncDisposableStack()
  const folder = join(SCRATCH, `${PREFIX}${process.pid}`)
  mkdirSync(folder, { mode: 0o755 })
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const workbench = open({ folder, stack, rounds: Number(values.rounds), profileFolder: values.profile })
  const findings = await Promise.race([bench(workbench), stopped])
  if (process.send) process.send(findings)
  else console.log(table(findings))
  process.disconnect?.()
}

function open(made: {
  readonly folder: string
  readonly stack: AsyncDisposableStack
  readonly rounds: number
  readonly profileFolder: string | undefined
}): Workbench {
  const { folder, stack, rounds, profileFolder } = made
  const start = (spec: Omit<ProcessSpec, 'folder'>) => stack.use(new BenchProcess({ ...spec, folder }))
  return {
    folder,
    rounds,
    start,
    startNode({ name, entry, args = [], environment }) {
      const profile = profileFolder ? ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, `--cpu-prof-name=${name}.cpuprofile`] : []
      const cache = { NODE_COMPILE_CACHE: join(folder, 'compile-cache') }
      const program = { command: process.execPath, args: [...profile, join(ROOT, entry), ...args] }
      return start({ name, ...program, environment: { ...cache, ...environment } })
    },
    defer: (undo) => stack.defer(undo),
    say: (text) => console.error(`${text}  [load ${loadavg()[0]?.toFixed(1)}]`),
  }
}

/** What a bench that was killed outright could not remove. */
function removeLeftovers(): void {
  for (const name of readdirSync(SCRATCH)) {
    if (!name.startsWith(PREFIX) || existsSync(`/proc/${name.slice(PREFIX.length)}`)) continue
    const folder = join(SCRATCH, name)
    try {
      execFileSync(requireTool('umount'), ['--lazy', join(folder, POOL_FOLDER)], { stdio: 'ignore' })
    } catch {
      // Most had no pool.
    }
    rmSync(folder, { recursive: true, force: true })
  }
}
