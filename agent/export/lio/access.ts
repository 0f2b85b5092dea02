import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { IscsiName } from '../../../shared/volume-spec.ts'
import type { Access, Session } from '../exports.ts'
import { directoriesIn, linksIn, makeDirectory, makeLink, put, removeDirectory, removeLink, take } from './configfs.ts'
import { accessPath, type TargetPaths } from './layout.ts'

/** MAX_USER_LEN and MAX_PASS_LEN of iscsi_target_core.h, with their end. */
const MAX_CHAP_LENGTH = 255

/** @throws invalid what the kernel would take for something else */
export function checkAccess({ initiators, chap }: Access): void {
  const bad = initiators.find((name) => IscsiName.safeParse(name).data !== name)
  if (bad !== undefined || initiators.length === 0) throw new FleetError('invalid', 'no iSCSI name of an initiator')
  for (const value of chap === undefined ? [] : [chap.user, chap.secret]) {
    // `NULL` is how configfs is told that there is none.
    if (
      value === '' ||
      value.startsWith('NULL') ||
      /[\0\n]/.test(value) ||
      Buffer.byteLength(value) > MAX_CHAP_LENGTH
    ) {
      throw new FleetError('invalid', 'LIO cannot take this CHAP user or secret')
    }
  }
}

/** Lets one initiator in: what it needs to say who it is before what it gets. */
export async function admit(paths: TargetPaths, initiator: string, chap: Access['chap']): Promise<void> {
  const path = accessPath(paths, initiator)
  await makeDirectory(path)
  await putChap(path, chap)
  const mapped = join(path, 'lun_0')
  await makeDirectory(mapped)
  if ((await linksIn(mapped)).length === 0) await makeLink(paths.lun, join(mapped, 'lun_0'))
}

/** Of all that are let in from now on: the LUN is linked as this says, so that nobody may write to it for a moment. */
export async function putReadonly(paths: TargetPaths, isReadonly: boolean): Promise<void> {
  await put(join(paths.group, 'attrib', 'prod_mode_write_protect'), isReadonly ? '1' : '0')
}

export async function isReadonly(paths: TargetPaths): Promise<boolean> {
  return (await take(join(paths.group, 'attrib', 'prod_mode_write_protect'))) === '1'
}

/** Of one that was let in before: its next command is refused, or is not. */
export async function protect(paths: TargetPaths, initiator: string, isReadonly: boolean): Promise<void> {
  const mapped = join(accessPath(paths, initiator), 'lun_0')
  // An interrupted call left it without the LUN, and what is linked then is as the group says.
  if ((await linksIn(mapped)).length === 0) return
  await put(join(mapped, 'write_protect'), isReadonly ? '1' : '0')
}

/** As written: a newline would be part of the secret. */
export async function putChap(path: string, chap: Access['chap']): Promise<void> {
  await put(join(path, 'auth', 'userid'), chap?.user ?? 'NULL')
  await put(join(path, 'auth', 'password'), chap?.secret ?? 'NULL')
}

/** Turns one initiator out: its sessions are closed by the kernel before this returns. */
export async function expel(paths: TargetPaths, initiator: string): Promise<void> {
  const path = accessPath(paths, initiator)
  for (const mapped of (await directoriesIn(path)).filter((name) => /^lun_\d+$/.test(name))) {
    for (const link of await linksIn(join(path, mapped))) await removeLink(join(path, mapped, link))
    await removeDirectory(join(path, mapped))
  }
  await removeDirectory(path)
}

export async function initiatorsOf(paths: TargetPaths): Promise<readonly string[]> {
  return (await directoriesIn(join(paths.group, 'acls'))).toSorted()
}

/** Whether all of these are let in as is wanted now. */
export async function hasChap(
  paths: TargetPaths,
  initiators: readonly string[],
  chap: Access['chap'],
): Promise<boolean> {
  if ((await needsChap(paths)) !== (chap !== undefined)) return false
  if (chap === undefined) return true
  for (const initiator of initiators) {
    const auth = join(accessPath(paths, initiator), 'auth')
    if ((await take(join(auth, 'userid'))) !== chap.user || (await take(join(auth, 'password'))) !== chap.secret) {
      return false
    }
  }
  return true
}

export async function needsChap(paths: TargetPaths): Promise<boolean> {
  return (await take(join(paths.group, 'attrib', 'authentication'))) === '1'
}

/** The kernel tells the newest session of each initiator, and its address without the port. */
export async function sessionsOf(paths: TargetPaths, initiators: readonly string[]): Promise<readonly Session[]> {
  const sessions: Session[] = []
  for (const initiator of initiators) {
    const address = readSession((await take(join(accessPath(paths, initiator), 'info'))) ?? '')
    if (address !== undefined) sessions.push({ initiator, address })
  }
  return sessions
}

/** @param info of an ACL @returns where its session comes from; undefined without a session */
export function readSession(info: string): string | undefined {
  if (!info.includes('LIO Session ID:')) return undefined
  return /^\s*Address (\S+) /m.exec(info)?.[1] ?? ''
}
