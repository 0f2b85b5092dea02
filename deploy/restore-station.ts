import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PRIVATE_DIRECTORY_MODE } from './atomic-file.ts'
import { AUTHORITY_CONFIGURATION, AUTHORITY_FILE } from './nats.ts'
import { StartError } from './start-error.ts'
import type { StateDirectory } from './state-directory.ts'

/**
 * Fills the empty database of a new state directory from a backup of a station, and puts the keys that are in it where `npm start`
 * looks for them.
 * @throws StartError with what the command says.
 */
export async function restoreStation(what: {
  readonly from: string
  readonly identity: string | undefined
  readonly databaseUrl: string
  readonly state: StateDirectory
  readonly root: string
  readonly say: (line: string) => void
}): Promise<void> {
  const { from, identity, databaseUrl, state, root, say } = what
  const folder = join(state.path, 'restored-keys')
  const words = ['station', 'restore', '--from', from, '--keys-to', folder]
  if (identity !== undefined) words.push('--identity', identity)
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [join(root, 'control-plane/cli.ts'), ...words], {
      cwd: root,
      env: { PATH: process.env.PATH, DATABASE_URL: databaseUrl },
    })
    for (const line of stdout.trimEnd().split('\n')) say(line)
  } catch (error) {
    const told = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error)
    throw new StartError(`the station could not be restored: ${told}`)
  }
  placeKeys(folder, state)
}

/** What is there already stays, and the other one beside it, for the operator to look at. */
export function placeKeys(folder: string, state: StateDirectory): void {
  const places = [
    ['secrets-key', state.secretsKey],
    [AUTHORITY_CONFIGURATION, join(state.nats, AUTHORITY_CONFIGURATION)],
    // Last of NATS' files: it tells that all of it is there.
    [AUTHORITY_FILE, join(state.nats, AUTHORITY_FILE)],
    ['credentials.json', state.credentials],
  ] as const
  mkdirSync(state.nats, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  for (const [name, path] of places) {
    if (existsSync(join(folder, name)) && !existsSync(path)) renameSync(join(folder, name), path)
  }
  if (existsSync(folder) && readdirSync(folder).length === 0) rmSync(folder, { recursive: true })
}
