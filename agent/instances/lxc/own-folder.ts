import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { readSmallFile } from '../small-file.ts'

const MAX_CONFIG_BYTES = 2 ** 20
/** LXC's notes of what was copied from a container, or it from another, by name (lxccontainer.c, 5.0). */
const KNOWN_BY_NAME = ['snaps', 'lxc_snapshots', 'lxc_rdepends']

/** @throws exists, conflict */
export function moveFolder(folder: string, from: string, to: string): void {
  if (existsSync(join(folder, to, 'config')))
    throw new FleetError('exists', 'a container of this name is there already')
  const isKnown = KNOWN_BY_NAME.some((name) => holdsAnything(join(folder, from, name)))
  if (isKnown) throw new FleetError('conflict', 'the container has snapshots, which know it by its name')
  try {
    renameSync(join(folder, from), join(folder, to))
  } catch (cause) {
    if (errorCodeOf(cause) !== 'ENOTEMPTY' && errorCodeOf(cause) !== 'EEXIST') throw cause
    throw new FleetError('exists', 'a directory of this name is there already', { cause })
  }
}

function holdsAnything(path: string): boolean {
  try {
    return readdirSync(path).length > 0
  } catch (error) {
    return errorCodeOf(error) === 'ENOTDIR' // a file is a note by itself
  }
}

/** What the configuration of `to` says of places in the folder that it had as `from`. */
export function rewriteOwnPaths(folder: string, from: string, to: string): void {
  const path = join(folder, to, 'config')
  if (from === to || !existsSync(path)) return
  const text = readSmallFile(path, MAX_CONFIG_BYTES).toString()
  const changed = withOwnPaths(text, join(folder, from), join(folder, to))
  if (changed === text) return
  writeFileSync(`${path}.partial`, changed, { mode: 0o640, flush: true })
  renameSync(`${path}.partial`, path)
}

/** In the values of a configuration; a path that only begins like it is another's. */
function withOwnPaths(text: string, from: string, to: string): string {
  const place = new RegExp(`(?<=^[^#]*=.*(?:[\\s=:,]))${RegExp.escape(from)}(?=[/\\s:,]|$)`, 'gm')
  return text.replaceAll(place, () => to)
}

/** The folder of a container whose root is elsewhere. First what makes it one, so that half of it is none. */
export function removeDefinition(folder: string, name: string): void {
  rmSync(join(folder, name, 'config'), { force: true })
  rmSync(join(folder, name), { recursive: true, force: true })
}
