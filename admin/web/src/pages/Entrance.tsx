import { Alert, Anchor, Box, Button, Center, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useSearchParams } from 'react-router';
import { post, type Visitor } from '../api';
import { Brand } from '../components/shell';
import { Broken, Waiting } from '../components/states';
import { at } from '../hooks';
import { IconAlertTriangle } from '../icons';
import { become, useVisitor } from '../session';

// Doors for people who are not signed in: an account of one's own, an invitation, a
// password that was forgotten.

const least = 10;

function Door({ title, text, children }: { title: string; text?: string; children: ReactNode }) {
  const { t } = useTranslation();
  return (
    <Center mih="100dvh" p="lg" component="main">
      <Box w="100%" maw={400}>
        <Brand />
        <Title order={1} mt="xl" mb={4}>
          {title}
        </Title>
        {text ? (
          <Text c="dimmed" mb="lg">
            {text}
          </Text>
        ) : null}
        {children}
        <Anchor component={Link} to="/console/sign-in" size="sm" mt="lg" display="inline-block">
          {t('entrance.haveAccount')}
        </Anchor>
      </Box>
    </Center>
  );
}

/** Fault is a refusal that no field of the form shows. */
function Fault({ error, beside = [] }: { error: Error | null; beside?: string[] }) {
  return error && at(error, ...beside) === null ? (
    <Alert color="red" icon={<IconAlertTriangle size={18} />} role="alert">
      {error.message}
    </Alert>
  ) : null;
}

/** useEntrance signs in whoever the server lets in. */
function useEntrance(enter: () => Promise<Visitor>) {
  const client = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: enter,
    onSuccess: (visitor) => {
      become(client, visitor);
      void navigate('/console', { replace: true });
    },
  });
}

function Secret({ value, onChange, error }: { value: string; onChange: (v: string) => void; error: string | null }) {
  const { t } = useTranslation();
  return <PasswordInput visibilityToggleButtonProps={{ 'aria-label': t('signIn.show') }} label={t('signIn.password')} description={t('settings.newPasswordHint')} autoComplete="new-password" required size="md" value={value} onChange={(e) => onChange(e.currentTarget.value)} error={error} />;
}

export function SignUp() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const [d, setD] = useState({ name: '', email: '', password: '' });
  const [tried, setTried] = useState(false);
  const enter = useEntrance(() => post<Visitor>('/console/api/register', { name: d.name.trim(), email: d.email.trim(), password: d.password }));
  const badName = d.name.trim() === '' ? t('entrance.needName') : null;
  const badEmail = !/^\S+@\S+$/.test(d.email.trim()) ? t('entrance.badEmail') : null;
  const badPassword = d.password.length < least ? t('settings.newPasswordHint') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!badName && !badEmail && !badPassword) enter.mutate();
  };
  const set = (name: keyof typeof d) => (e: { currentTarget: { value: string } }) => {
    const { value } = e.currentTarget;
    setD((all) => ({ ...all, [name]: value }));
  };
  if (!site.registration) return <Door title={t('entrance.closed')} text={site.contact ? t('signIn.contact', { contact: site.contact }) : t('signIn.help')}>{null}</Door>;
  return (
    <Door title={t('entrance.title', { brand: site.brand })} text={t('entrance.text')}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <Fault error={enter.error} beside={['name', 'email', 'password']} />
          <TextInput label={t('entrance.name')} required autoFocus size="md" maxLength={128} autoComplete="organization" value={d.name} onChange={set('name')} error={(tried ? badName : null) ?? at(enter.error, 'name')} />
          <TextInput label={t('signIn.email')} type="email" required size="md" autoComplete="username" value={d.email} onChange={set('email')} error={(tried ? badEmail : null) ?? at(enter.error, 'email')} />
          <Secret value={d.password} onChange={(password) => setD((all) => ({ ...all, password }))} error={(tried ? badPassword : null) ?? at(enter.error, 'password')} />
          <Button type="submit" size="md" loading={enter.isPending}>
            {t('entrance.submit')}
          </Button>
        </Stack>
      </form>
    </Door>
  );
}

/** ByLink sets a password by a link: of an invitation, or of a reset. */
function ByLink({ title, text, path, submit: label }: { title: string; text: string; path: string; submit: string }) {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const [password, setPassword] = useState('');
  const [tried, setTried] = useState(false);
  const enter = useEntrance(() => post<Visitor>(path, { token: params.get('token') ?? '', password }));
  const bad = password.length < least ? t('settings.newPasswordHint') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!bad) enter.mutate();
  };
  return (
    <Door title={title} text={text}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <Fault error={enter.error} beside={['password']} />
          <Secret value={password} onChange={setPassword} error={(tried ? bad : null) ?? at(enter.error, 'password')} />
          <Button type="submit" size="md" loading={enter.isPending}>
            {label}
          </Button>
        </Stack>
      </form>
    </Door>
  );
}

export function Invitation() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const [params] = useSearchParams();
  const token = params.get('token') ?? '';
  const seen = useQuery({ queryKey: ['invitation', token], queryFn: () => post<{ email: string; client_name: string; role: string }>('/console/api/invitation', { token }), retry: false });
  if (seen.error) return <Door title={t('entrance.badLink')}><Broken error={seen.error} /></Door>;
  if (!seen.data) return <Waiting full />;
  return <ByLink title={t('entrance.join', { name: seen.data.client_name || site.brand })} text={t('entrance.joinText', { email: seen.data.email })} path="/console/api/invitation/use" submit={t('entrance.accept')} />;
}

export function Reset() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const [params] = useSearchParams();
  const [email, setEmail] = useState('');
  const ask = useMutation({ mutationFn: () => post<{ mails: boolean }>('/console/api/reset', { email: email.trim() }) });
  if (params.has('token')) return <ByLink title={t('entrance.reset')} text={t('entrance.resetText')} path="/console/api/reset/use" submit={t('settings.change')} />;
  return (
    <Door title={t('entrance.forgot')} text={site.mails ? t('entrance.forgotText') : t('entrance.noMails')}>
      {ask.data ? (
        <Alert color="teal" role="status">
          {t(ask.data.mails ? 'entrance.sent' : 'entrance.noMails')}
        </Alert>
      ) : site.mails ? (
        <form
          onSubmit={(e) => {
            e.preventDefault();
            ask.mutate();
          }}
        >
          <Stack>
            <Fault error={ask.error} />
            <TextInput label={t('signIn.email')} type="email" required autoFocus size="md" autoComplete="username" value={email} onChange={(e) => setEmail(e.currentTarget.value)} />
            <Button type="submit" size="md" loading={ask.isPending}>
              {t('entrance.send')}
            </Button>
          </Stack>
        </form>
      ) : null}
    </Door>
  );
}
