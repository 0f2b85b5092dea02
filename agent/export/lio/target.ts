import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { WantedTarget } from '../exports.ts'
import { admit, expel, hasChap, initiatorsOf, protect, putChap, putReadonly } from './access.ts'
import {
  directoriesIn,
  isDirectory,
  linksIn,
  makeDirectory,
  makeLink,
  put,
  removeDirectory,
  removeLink,
  take,
} from './configfs.ts'
import { accessPath, type TargetPaths } from './layout.ts'
import { findStore, makeStore, removeStore, type Store } from './stores.ts'

/**
 * `absent`, `foreign` (somebody else's), `half` (ours, not open to anybody: an interrupted call's), `open`.
 * A target opens last and closes first, so that what is open is whole.
 */
export type State =
  | { readonly kind: 'absent' | 'foreign' }
  | { readonly kind: 'half'; readonly store: Store | undefined }
  | { readonly kind: 'open'; readonly store: Store }

/** Nobody without an ACL gets in, nor is told of the target. */
const ATTRIBUTES: readonly (readonly [name: string, value: string])[] = [
  ['generate_node_acls', '0'],
  ['cache_dynamic_acls', '0'],
  ['demo_mode_write_protect', '1'],
  ['demo_mode_discovery', '0'],
]

export async function stateOf(root: string, paths: TargetPaths): Promise<State> {
  const store = await findStore(root, paths)
  if (!(await isDirectory(paths.target))) return store === undefined ? { kind: 'absent' } : { kind: 'half', store }
  if (store === undefined || !(await showsOnly(paths, store))) return { kind: 'foreign' }
  return (await take(join(paths.group, 'enable'))) === '1' ? { kind: 'open', store } : { kind: 'half', store }
}

async function showsOnly(paths: TargetPaths, store: Store): Promise<boolean> {
  const groups = (await directoriesIn(paths.target)).filter((name) => name.startsWith('tpgt_'))
  if (groups.some((name) => name !== 'tpgt_1')) return false
  const luns = (await directoriesIn(join(paths.group, 'lun'))).filter((name) => name.startsWith('lun_'))
  for (const lun of luns) {
    const path = join(paths.group, 'lun', lun)
    for (const link of await linksIn(path)) {
      if ((await realpath(join(path, link))) !== store.path) return false
    }
  }
  return true
}

/** Makes all of a target, and opens it last. */
export async function build(
  root: string,
  paths: TargetPaths,
  { wanted, portals }: { readonly wanted: WantedTarget; readonly portals: readonly string[] },
): Promise<void> {
  const store = await makeStore(root, paths, wanted)
  await makeDirectory(join(root, 'iscsi'))
  if (!(await makeDirectory(paths.target))) {
    await removeStore(store) // ours no longer: somebody else's target has the name since
    throw foreign(paths.wwn)
  }
  await makeDirectory(paths.group)
  for (const [name, value] of ATTRIBUTES) await put(join(paths.group, 'attrib', name), value)
  const { chap, initiators, isReadonly = false } = wanted.access
  await putReadonly(paths, isReadonly)
  await put(join(paths.group, 'attrib', 'authentication'), chap === undefined ? '0' : '1')
  await makeDirectory(paths.lun)
  await makeLink(store.path, join(paths.lun, paths.storeName))
  for (const initiator of initiators) await admit(paths, initiator, chap)
  for (const portal of portals) await makeDirectory(join(paths.group, 'np', portal))
  await put(join(paths.group, 'enable'), '1')
}

/**
 * Changes who may use an open target, and where it is found. Sessions of those who stay go on, unless what they must say has
 * changed: then all are closed, and may come back with the new.
 */
export async function adjust(
  paths: TargetPaths,
  { wanted, portals }: { readonly wanted: WantedTarget; readonly portals: readonly string[] },
): Promise<void> {
  const { initiators, chap, isReadonly = false } = wanted.access
  await putReadonly(paths, isReadonly)
  const standing = await initiatorsOf(paths)
  for (const stale of standing.filter((name) => !initiators.includes(name))) await expel(paths, stale)
  const staying = standing.filter((name) => initiators.includes(name))
  for (const initiator of staying) await protect(paths, initiator, isReadonly)
  const isSame = await hasChap(paths, staying, chap)
  if (!isSame) {
    await put(join(paths.group, 'enable'), '0')
    await put(join(paths.group, 'attrib', 'authentication'), chap === undefined ? '0' : '1')
    for (const initiator of staying) await putChap(accessPath(paths, initiator), chap)
  }
  for (const initiator of initiators)
    await admitOnce(paths, initiator, { chap, isStanding: standing.includes(initiator) })
  const listening = await directoriesIn(join(paths.group, 'np'))
  for (const portal of portals.filter((name) => !listening.includes(name))) {
    await makeDirectory(join(paths.group, 'np', portal))
  }
  for (const portal of listening.filter((name) => !portals.includes(name))) {
    await removeDirectory(join(paths.group, 'np', portal))
  }
  if (!isSame) await put(join(paths.group, 'enable'), '1')
}

/** One that stands is left as it is, unless an interrupted call left it without the LUN. */
async function admitOnce(
  paths: TargetPaths,
  initiator: string,
  { chap, isStanding }: { readonly chap: WantedTarget['access']['chap']; readonly isStanding: boolean },
): Promise<void> {
  const mapped = join(accessPath(paths, initiator), 'lun_0')
  if (isStanding && (await linksIn(mapped)).length > 0) return
  await admit(paths, initiator, chap)
}

/** Closes it (which ends all sessions), then takes it apart; what is not there is gone already. The store goes last. */
export async function takeDown(root: string, paths: TargetPaths): Promise<void> {
  if (await isDirectory(paths.group)) {
    await put(join(paths.group, 'enable'), '0').catch(() => undefined) // EINVAL: it never was open
    for (const initiator of await initiatorsOf(paths)) await expel(paths, initiator)
    for (const link of await linksIn(paths.lun)) await removeLink(join(paths.lun, link))
    await removeDirectory(paths.lun)
    for (const portal of await directoriesIn(join(paths.group, 'np'))) {
      await removeDirectory(join(paths.group, 'np', portal))
    }
    await removeDirectory(paths.group)
  }
  await removeDirectory(paths.target)
  await removeStore(await findStore(root, paths))
}

export function foreign(wwn: string): FleetError {
  return new FleetError('conflict', `somebody else has made the target ${wwn}`)
}
