import { constants } from 'node:fs'
import { mkdir, open, readdir, readFile, rmdir, stat, symlink, unlink } from 'node:fs/promises'
import { errorCodeOf } from '../../native/system-error.ts'

/** Writes an attribute of configfs in one go: what is written is the value, a newline included. */
export async function put(path: string, value: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY)
  try {
    await file.write(value)
  } finally {
    await file.close()
  }
}

/** @returns an attribute without its last newline; undefined where there is none */
export function take(path: string): Promise<string | undefined> {
  return orAbsent(readFile(path, 'utf8').then((text) => text.replace(/\n$/, '')))
}

/** @returns false where it was there already */
export async function makeDirectory(path: string): Promise<boolean> {
  try {
    await mkdir(path)
    return true
  } catch (error) {
    if (errorCodeOf(error) !== 'EEXIST') throw error
    return false
  }
}

/** @param target absolute: configfs resolves it from the directory of this process */
export function makeLink(target: string, path: string): Promise<void> {
  return symlink(target, path)
}

export async function removeDirectory(path: string): Promise<void> {
  await orAbsent(rmdir(path))
}

export async function removeLink(path: string): Promise<void> {
  await orAbsent(unlink(path))
}

/** @returns names of the directories in it; none where there is no such directory */
export async function directoriesIn(path: string): Promise<readonly string[]> {
  return namesOf(path, (entry) => entry.isDirectory())
}

export async function linksIn(path: string): Promise<readonly string[]> {
  return namesOf(path, (entry) => entry.isSymbolicLink())
}

async function namesOf(path: string, wanted: (entry: Entry) => boolean): Promise<readonly string[]> {
  const entries = (await orAbsent(readdir(path, { withFileTypes: true }))) ?? []
  return entries.filter(wanted).map(({ name }) => name)
}
interface Entry {
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

export async function isDirectory(path: string): Promise<boolean> {
  return (await orAbsent(stat(path)))?.isDirectory() === true
}

async function orAbsent<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work
  } catch (error) {
    if (errorCodeOf(error) !== 'ENOENT') throw error
    return undefined
  }
}
