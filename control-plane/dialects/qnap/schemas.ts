import { z } from 'zod'

const USERNAME_MAX = 200
const PASSWORD_MAX = 1024

export const LoginBody = z.object({
  username: z.string().min(1, 'must not be empty').max(USERNAME_MAX).meta({ example: 'admin' }),
  password: z.string().max(PASSWORD_MAX).meta({ example: 'secret', format: 'password' }),
})

export const LoginView = z.object({
  anonymous: z.literal(false),
  isAdmin: z.boolean(),
  logintime: z.string().meta({ description: "In the server's zone", example: '2026-01-02 03:04:05' }),
  username: z.string().meta({ example: 'admin' }),
})
export type LoginView = z.infer<typeof LoginView>

export const LogoutView = z.object({ username: z.string().meta({ example: 'admin' }) })

export const QnapErrorBody = z.object({
  error: z.object({
    code: z.number().int().meta({ description: 'The HTTP status', example: 401 }),
    message: z.string().meta({ example: 'the username or the password is wrong' }),
    blockers: z.array(z.string()).optional().meta({ description: 'What depends on it' }),
  }),
})
