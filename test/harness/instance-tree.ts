import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Instances } from '../../agent/instances/instances.ts'
import type { InstanceManifest } from '../../shared/instance-spec.ts'

const never = new AbortController().signal

/**
 * Fills an empty directory with the tree of a stopped instance (shared/instance-spec.ts), by cp and tar: none of our code reads its data.
 * @param leftOut destinations of mounts that it shall not have
 */
export async function makeInstanceTree(
  root: string,
  {
    instances,
    id,
    leftOut = [],
  }: { readonly instances: Instances; readonly id: string; readonly leftOut?: readonly string[] },
): Promise<void> {
  const found = await instances.find(id, never)
  if (found === undefined) throw new Error('no such instance')
  const config = await instances.readConfig(id, never)
  const rootfs = join(root, 'rootfs')
  if (found.rootfs === undefined) {
    mkdirSync(rootfs)
    const tar = Buffer.concat(await Array.fromAsync(instances.exportRootfs?.(id, never) ?? []))
    execFileSync('/bin/tar', ['-C', rootfs, '-xpf', '-'], { input: tar })
  } else execFileSync('/bin/cp', ['-a', found.rootfs, rootfs])
  const sorted = found.mounts.toSorted((a, b) => (a.destination < b.destination ? -1 : 1))
  const mounts = sorted.map(({ destination, kind, volume, source, readonly }, number) => {
    const isLeft = leftOut.includes(destination)
    const directory = isLeft ? null : `mounts/${number}`
    mkdirSync(join(root, 'mounts'), { recursive: true })
    if (directory !== null) execFileSync('/bin/cp', ['-a', source, join(root, directory)])
    return {
      destination,
      kind,
      volume: volume ?? null,
      source,
      readonly,
      directory,
      why: isLeft ? 'not asked for' : null,
    }
  })
  const { type, name, image } = config
  const manifest: InstanceManifest = { version: 1, type, name, mounts, image: image ?? null }
  mkdirSync(join(root, 'instance/config'), { recursive: true })
  writeFileSync(join(root, 'instance/instance.json'), JSON.stringify(manifest))
  for (const [file, bytes] of Object.entries(config.files)) writeFileSync(join(root, 'instance/config', file), bytes)
}
