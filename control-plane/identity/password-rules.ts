import { FleetError } from '../../shared/errors.ts'
import type { PasswordRules } from '../core/users.ts'
import type { LoginLimiter } from './limiter.ts'
import { hashPassword, verifyPassword } from './passwords.ts'

/** Passwords as users' changes need them: who guesses the old one is limited as at the login. */
export function createPasswordRules(limiter: LoginLimiter): PasswordRules {
  return {
    hash: hashPassword,
    async check({ user, password, caller }, phc) {
      const attempt = { username: user.name, address: caller.request?.address ?? '' }
      const refusal = await limiter.begin(attempt)
      if (refusal !== undefined) throw new FleetError('busy', 'too many wrong passwords: try again in a minute')
      const matches = await verifyPassword(password, phc).catch(async (error: unknown) => {
        // What could not be compared was no guess.
        await limiter.forget(attempt)
        throw error
      })
      if (!matches) return false
      await limiter.succeed(attempt)
      return true
    },
  }
}
