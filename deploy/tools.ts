import { execFile } from 'node:child_process'
import { accessSync, constants, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const DEFAULT_TIMEOUT_MS = 30_000
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024
/** Root's PATH may lack these (`su` without `-`). */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']

export interface ToolOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly environment?: Readonly<Record<string, string>>
}

const execute = promisify(execFile)

/** Absolute path of a program in PATH or the system's folders, or undefined. */
export function findTool(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS]
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find(isExecutable)
}

/** The folder of PostgreSQL's programs: beside `postgres` in PATH, else where Debian and Red Hat put them, newest first. */
export function findPostgresFolders(): readonly string[] {
  const packaged = [...versionsIn('/usr/lib/postgresql', (version) => version), ...versionsIn('/usr', pgdgVersion)]
  const onPath = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder.startsWith('/'))
  return [...packaged, ...onPath, '/usr/bin', '/usr/local/bin'].filter(
    (folder) => isExecutable(join(folder, 'initdb')) && isExecutable(join(folder, 'postgres')),
  )
}

/** @throws the child's error, its `stderr` included, on a non-zero exit. */
export async function runTool(path: string, args: readonly string[], options: ToolOptions = {}): Promise<string> {
  const { stdout } = await execute(path, args, {
    encoding: 'utf8',
    timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
    env: { ...process.env, ...options.environment, LC_ALL: 'C', TZ: 'UTC' },
    ...(options.signal ? { signal: options.signal } : {}),
  })
  return stdout
}

/** The last line a failed tool wrote to standard error, or its error message. */
export function whyToolFailed(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const stderr = 'stderr' in error && typeof error.stderr === 'string' ? error.stderr.trim() : ''
  return stderr.split('\n').at(-1) || error.message
}

function pgdgVersion(name: string): string | undefined {
  return /^pgsql-(\d+)$/.exec(name)?.[1]
}

function versionsIn(parent: string, versionOf: (name: string) => string | undefined): readonly string[] {
  let names: readonly string[]
  try {
    names = readdirSync(parent)
  } catch {
    return []
  }
  return names
    .filter((name) => Number(versionOf(name)) > 0)
    .toSorted((left, right) => Number(versionOf(right)) - Number(versionOf(left)))
    .map((name) => join(parent, name, 'bin'))
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
