import { cString, libc } from './libc.ts'
import { close } from './paths.ts'
import { checked, lastErrorCode } from './system-error.ts'

/** The same on x86-64 and arm64; Linux 5.2. */
const SYS = { openTree: 428, fsopen: 430, fsconfig: 431, fsmount: 432 } as const
/** OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH */
const CLONE_OF_DESCRIPTOR = 1 | 0o2000000 | 0x1000
const FSOPEN_CLOEXEC = 1
const FSMOUNT_CLOEXEC = 1
/** linux/mount.h */
const CONFIG = { string: 1, create: 6 } as const
const ATTRIBUTES = { readonly: 1, nosuid: 2, nodev: 4, noexec: 8, noatime: 0x10 } as const
/** What fsconfig takes of one value (strndup_user in fs/fsopen.c). */
const MAX_VALUE_BYTES = 255

/**
 * The overlay of some directories as the kernel shows it, read-only and mounted nowhere: it is there for as long as the descriptor is
 * open, and nothing of it is left when this process dies. The directories must not be written to meanwhile.
 * @param layerFds the uppermost first; two at least; not needed any more when this returns
 * @returns its root, to resolve beneath (O_PATH)
 * @throws SystemError; E2BIG when this kernel (before 6.7) takes fewer layers
 */
export function openOverlay(layerFds: readonly number[]): number {
  const attributes = Object.values(ATTRIBUTES).reduce((sum, flag) => sum | flag, 0)
  const contextFd = checked('fsopen', libc().syscallFsopen(SYS.fsopen, cString('overlay'), FSOPEN_CLOEXEC))
  try {
    setLayers(contextFd, layerFds)
    checked('fsconfig', libc().syscallFsconfig(SYS.fsconfig, contextFd, CONFIG.create, null, null, 0))
    return checked('fsmount', libc().syscallFsmount(SYS.fsmount, contextFd, FSMOUNT_CLOEXEC, attributes))
  } finally {
    close(contextFd)
  }
}

/**
 * A directory without what is mounted below it, mounted nowhere either. @throws SystemError
 * @returns to resolve beneath (O_PATH)
 */
export function openWithoutMounts(directoryFd: number): number {
  return checked('open_tree', libc().syscallOpenTree(SYS.openTree, directoryFd, EMPTY_PATH, CLONE_OF_DESCRIPTOR))
}
const EMPTY_PATH = cString('')

function setLayers(contextFd: number, layerFds: readonly number[]): void {
  const paths = layerFds.map((fd) => `/proc/self/fd/${fd}`)
  const set = (key: string, value: string) =>
    libc().syscallFsconfig(SYS.fsconfig, contextFd, CONFIG.string, cString(key), cString(value), 0)
  for (const [index, path] of paths.entries()) {
    const result = set('lowerdir+', path)
    if (result < 0 && index === 0 && lastErrorCode() === 'EINVAL') {
      const joined = paths.join(':')
      if (joined.length > MAX_VALUE_BYTES) throw tooMany()
      checked('fsconfig', set('lowerdir', joined))
      return
    }
    checked('fsconfig', result)
  }
}

function tooMany(): Error {
  return Object.assign(new Error('this kernel takes fewer layers'), { code: 'E2BIG' })
}
