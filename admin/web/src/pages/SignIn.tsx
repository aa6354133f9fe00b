import { Alert, Anchor, Box, Button, Group, PasswordInput, Stack, Text, TextInput, ThemeIcon, Title } from '@mantine/core';
import { IconAlertTriangle, IconArrowsShuffle, IconPlugConnected, IconReceipt2 } from '../icons';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, Navigate, useSearchParams } from 'react-router';
import { post, type Visitor } from '../api';
import { Brand, LanguageSwitch, SchemeSwitch } from '../components/shell';
import { become, useVisitor } from '../session';

/** inside keeps the way back on this site and in the console. */
export const inside = (next: string | null): string => (next !== null && /^\/console(\/[A-Za-z0-9_\-/]*)?(\?[^#\\]*)?$/.test(next) && !next.includes('//') ? next : '/console');

export function SignIn() {
  const { t } = useTranslation();
  const { site, user } = useVisitor();
  const client = useQueryClient();
  const [params] = useSearchParams();
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const next = inside(params.get('next'));
  const enter = useMutation({
    mutationFn: () => post<Visitor>('/console/api/session', { email, password }),
    onSuccess: (visitor) => become(client, visitor),
    onError: () => setPassword(''),
  });
  if (user !== null) return <Navigate to={next} replace />;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    enter.mutate();
  };
  const points = [
    [IconPlugConnected, t('signIn.pitch1')],
    [IconReceipt2, t('signIn.pitch2')],
    [IconArrowsShuffle, t('signIn.pitch3')],
  ] as const;
  return (
    <div className="sign-in">
      <Stack p={{ base: 'md', sm: 'xl' }} justify="space-between" component="main">
        <Group justify="space-between">
          <Brand />
          <Group gap={4}>
            <LanguageSwitch />
            <SchemeSwitch />
          </Group>
        </Group>
        <Box maw={380} w="100%" mx="auto">
          <Title order={1} mb={4}>
            {t('signIn.title', { brand: site.brand })}
          </Title>
          <Text c="dimmed" mb="xl">
            {t('signIn.subtitle')}
          </Text>
          <form onSubmit={submit}>
            <Stack gap="md">
              {enter.error ? (
                <Alert color="red" icon={<IconAlertTriangle size={18} />} role="alert">
                  {enter.error.message}
                </Alert>
              ) : null}
              <TextInput label={t('signIn.email')} type="email" autoComplete="username" required autoFocus size="md" value={email} onChange={(e) => setEmail(e.currentTarget.value)} />
              <PasswordInput visibilityToggleButtonProps={{ 'aria-label': t('signIn.show') }} label={t('signIn.password')} autoComplete="current-password" required size="md" value={password} onChange={(e) => setPassword(e.currentTarget.value)} />
              <Button type="submit" size="md" loading={enter.isPending} fullWidth>
                {t('signIn.submit')}
              </Button>
            </Stack>
          </form>
          <Group justify="space-between" mt="lg">
            {site.registration ? (
              <Anchor component={Link} to="/console/sign-up" size="sm">
                {t('entrance.link')}
              </Anchor>
            ) : null}
            <Anchor component={Link} to="/console/reset" size="sm">
              {t('entrance.forgot')}
            </Anchor>
          </Group>
          <Group justify="space-between" mt="sm">
            <Text size="sm" c="dimmed">
              {site.contact ? t('signIn.contact', { contact: site.contact }) : t('signIn.help')}
            </Text>
            <Anchor component={Link} to="/docs/pricing" size="sm">
              {t('signIn.models')}
            </Anchor>
          </Group>
        </Box>
        <span />
      </Stack>
      <div className="sign-in-pitch">
        <span />
        <Stack gap="xl" maw={460}>
          {points.map(([Icon, text]) => (
            <Group key={text} wrap="nowrap" align="flex-start" gap="md">
              <ThemeIcon size={40} radius="md" color="rgba(255,255,255,0.14)">
                <Icon size={22} stroke={1.6} color="#fff" />
              </ThemeIcon>
              <Text fz={18} lh={1.5}>
                {text}
              </Text>
            </Group>
          ))}
        </Stack>
        <pre className="code-block" style={{ background: 'rgba(8,8,32,0.45)' }}>
          {`from openai import OpenAI\n\nclient = OpenAI(\n    base_url="${site.public_url}/v1",\n    api_key=os.environ["TOKEN_RELAY_KEY"],\n)`}
        </pre>
      </div>
    </div>
  );
}
