import { realpathSync } from 'node:fs'

/** Programs and libraries of the host's own operating system: the same for everybody, and nobody's data. */
const SYSTEM = /^\/(usr|bin|sbin|lib|lib32|lib64|libx32)(\/|$)/
const OF_THE_MACHINE = /^\/usr\/(local|src)(\/|$)/

/**
 * Whether a container that shares this read-only just borrows the host's system, as LXC's busybox template does: it is not backed up, and
 * what is restored borrows from the host that it is restored to. Whoever asks for it may be anybody, so only what is public counts.
 * @param path absolute; false when it is not there
 */
export function isHostSystem({ source, readonly }: { readonly source: string; readonly readonly: boolean }): boolean {
  if (!readonly) return false
  try {
    const real = realpathSync(source)
    return SYSTEM.test(real) && !OF_THE_MACHINE.test(real)
  } catch {
    return false // not on this host
  }
}
