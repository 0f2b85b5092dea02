import { canUseApt, installPackages } from './apt.ts'
import { StartError } from './start-error.ts'
import { missingPackages, type Purpose, type SystemPackage } from './system-packages.ts'

/**
 * Brings the system packages that `purpose` cannot do without, where we may.
 * @returns what is still missing and can be done without.
 * @throws StartError naming what is missing.
 */
export async function ensurePackages(
  purpose: Purpose,
  options: { readonly except?: readonly string[]; readonly say: (line: string) => void },
): Promise<readonly SystemPackage[]> {
  const missing = missingPackages(purpose, options.except)
  if (missing.length === 0) return []
  if (canUseApt()) await installPackages(namesOf(missing), options.say)
  const still = missingPackages(purpose, options.except)
  const needed = still.filter(({ without }) => without === undefined)
  if (needed.length > 0) throw new StartError(howToInstall(needed))
  return still
}

function namesOf(packages: readonly SystemPackage[]): readonly string[] {
  return packages.map(({ name }) => name)
}

function howToInstall(packages: readonly SystemPackage[]): string {
  const names = namesOf(packages).join(' ')
  return `missing: ${names}; install with "apt-get install --no-install-recommends ${names}" as root, or the like`
}
