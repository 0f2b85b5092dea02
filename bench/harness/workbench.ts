import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BenchProcess, type ProcessSpec } from './processes.ts'
import { type Finding, table } from './report.ts'

/** On a disk, not in memory: what fsync costs is part of every figure. */
const SCRATCH = '/var/tmp'
const PREFIX = 'holdfast-workbench-'
/** Written into every scratch directory of this file, and only there: nothing without it is ever removed. */
const MARKER = '.made-by-bench-harness'

/** The place one bench works in. All that is begun here ends with it, whatever happens. */
export interface Workbench {
  /** A scratch directory that anybody may enter. */
  readonly folder: string
  /** Of all processes: the first of each program finds nothing in it, but for agents behind `compileAgent`. */
  readonly compileCache: string
  /** With `--profile`: where profiles are kept. */
  readonly profileFolder: string | undefined
  /** Rounds of ours and of the peer, in turn. */
  readonly rounds: number
  /** Of the full size, where a bench has one that can be less: for a short run. Promises hold for 1. */
  readonly scale: number
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
  /** Node's own. */
  readonly flags?: readonly string[]
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

const LEFTOVER = new RegExp(`^${PREFIX}(\\d+)$`)
/** Of the sources. */
export const ROOT = join(import.meta.dirname, '../..')

/** Runs one bench from scratch directory to report. Its findings go to `run.ts` or, run by itself, to the terminal. */
export async function runBench(bench: (workbench: Workbench) => Promise<readonly Finding[]>): Promise<void> {
  const { values } = parseArgs({
    options: {
      profile: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      scale: { type: 'string', default: '1' },
    },
  })
  removeLeftovers()
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort())
  const stopped = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true })
  })
  await using stack = new AsyncDisposableStack()
  const folder = join(SCRATCH, `${PREFIX}${process.pid}`)
  mkdirSync(folder, { mode: 0o755 })
  writeFileSync(join(folder, MARKER), '')
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const workbench = open({
    folder,
    stack,
    rounds: Number(values.rounds),
    scale: Number(values.scale),
    profileFolder: values.profile,
  })
  const findings = await Promise.race([bench(workbench), stopped])
  if (process.send) process.send(findings)
  else console.log(table(findings))
  process.disconnect?.()
}

function open(made: {
  readonly folder: string
  readonly stack: AsyncDisposableStack
  readonly rounds: number
  readonly scale: number
  readonly profileFolder: string | undefined
}): Workbench {
  const { folder, stack, rounds, scale, profileFolder } = made
  const compileCache = join(folder, 'compile-cache')
  const start = (spec: Omit<ProcessSpec, 'folder'>) => stack.use(new BenchProcess({ ...spec, folder }))
  return {
    folder,
    compileCache,
    profileFolder,
    rounds,
    scale,
    start,
    startNode({ name, entry, flags = [], args = [], environment }) {
      const profile = profileFolder
        ? ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, `--cpu-prof-name=${name}.cpuprofile`]
        : []
      const program = { command: process.execPath, args: [...flags, ...profile, join(ROOT, entry), ...args] }
      return start({ name, ...program, environment: { NODE_COMPILE_CACHE: compileCache, ...environment } })
    },
    defer: (undo) => stack.defer(undo),
    say: (text) => console.error(`${text}  [load ${loadavg()[0]?.toFixed(1)}]`),
  }
}

/** What a bench that was killed outright could not remove: directories of this file's making whose process is gone. */
function removeLeftovers(): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
  for (const name of readdirSync(SCRATCH)) {
    const pid = LEFTOVER.exec(name)?.[1]
    const folder = join(SCRATCH, name)
    if (pid === undefined || existsSync(`/proc/${pid}`) || !existsSync(join(folder, MARKER))) continue
    // Never into a mount: what cannot be unmounted stays for its owner to look at.
    if (mounts.includes(` ${folder}/`)) {
      console.error(`${folder} has a mount that an earlier bench left: umount it, then remove it`)
      continue
    }
    rmSync(folder, { recursive: true, force: true })
  }
}
