import { readFileSync, realpathSync } from 'node:fs'

/**
 * Whether a device node below that directory is a device to whoever may open it. What tenants restore is put into datasets as it was archived,
 * device nodes and set-uid files too.
 * @param mountInfo in the form of proc(5)
 */
export function allowsDevices(directory: string, mountInfo = readFileSync('/proc/self/mountinfo', 'utf8')): boolean {
  const path = `${realpathSync(directory)}/`
  let longest = ''
  let options = ''
  for (const line of mountInfo.split('\n')) {
    const fields = line.split(' ')
    const mountPoint = unescaped(fields[4] ?? '')
    const isWithin = mountPoint === '/' || path.startsWith(`${mountPoint}/`)
    // Of several at one place the last is seen.
    if (mountPoint === '' || !isWithin || mountPoint.length < longest.length) continue
    longest = mountPoint
    options = fields[5] ?? ''
  }
  return !options.split(',').includes('nodev')
}

/** Blanks and their like are three octal digits there. */
function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
