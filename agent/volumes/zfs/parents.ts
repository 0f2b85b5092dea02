import { FleetError } from '../../../shared/errors.ts'
import { parentsOf } from '../../zfs/names.ts'
import type { Zfs } from '../../zfs/zfs.ts'

/**
 * Makes the file systems between `root` and these names where they are missing, each once. They hold only volumes: never mounted.
 * (`zfs create -p` would mount each.)
 */
export async function makeParents(
  { zfs, root, names }: { readonly zfs: Zfs; readonly root: string; readonly names: readonly string[] },
  signal: AbortSignal,
): Promise<void> {
  const wanted = [...new Set(names.flatMap((name) => parentsOf(root, name)))].sort((a, b) => a.length - b.length)
  if (wanted.length === 0) return
  const request = { columns: ['name'], types: ['filesystem'], names: wanted, depth: 0 } as const
  const there = new Set((await zfs.list(request, signal)).map(({ name }) => name))
  for (const name of wanted.filter((parent) => !there.has(parent))) {
    await zfs.call(['create', '-o', 'canmount=off', name], signal).catch((error) => {
      // Somebody else made it; a volume of that name makes what comes below fail by itself.
      if (!(error instanceof FleetError) || error.code !== 'exists') throw error
    })
  }
}
