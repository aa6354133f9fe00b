import { Button, Group, PasswordInput, SegmentedControl, SimpleGrid, Stack, Text, TextInput, useMantineColorScheme } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { patch, put, type Visitor } from '../api';
import { Copy, PageTitle, Panel } from '../components/bits';
import { Members } from '../components/members';
import { Sessions } from '../components/sessions';
import { Broken, Waiting } from '../components/states';
import { at, useChange, useGet } from '../hooks';
import { languages, setLanguage, type Key } from '../i18n';
import { useVisitor, visitorKey } from '../session';

interface Profile {
  client_id: string;
  name: string;
  display_name: string;
  company: string;
  contact_email: string;
  billing_email: string;
  phone: string;
  country: string;
  timezone: string;
}

const fields: [Exclude<keyof Profile, 'client_id' | 'name'>, Key][] = [
  ['display_name', 'settings.displayName'],
  ['company', 'settings.company'],
  ['contact_email', 'settings.contactEmail'],
  ['billing_email', 'settings.billingEmail'],
  ['phone', 'settings.phone'],
  ['country', 'settings.country'],
  ['timezone', 'settings.timezone'],
];

export default function Settings() {
  const { t, i18n } = useTranslation();
  const { user, site } = useVisitor();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const line = (label: string, value: string) => (
    <div>
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text size="sm" fw={500} style={{ overflowWrap: 'anywhere' }}>
        {value}
      </Text>
    </div>
  );
  return (
    <>
      <PageTitle title={t('settings.title')} />
      <Stack gap="lg">
        <Panel title={t('settings.account')}>
          <SimpleGrid cols={{ base: 1, sm: 3 }}>
            {line(t('settings.email'), user?.email ?? '')}
            {user?.client_name ? line(t('settings.customer'), user.client_name) : null}
            {line(t('settings.role'), t(user?.operator ? 'settings.role.operator' : 'settings.role.customer'))}
          </SimpleGrid>
        </Panel>
        <Panel title={t('settings.appearance')}>
          <Group gap="xl">
            <Stack gap={6}>
              <Text size="sm" fw={500}>
                {t('settings.theme')}
              </Text>
              <SegmentedControl aria-label={t('settings.theme')} value={colorScheme} onChange={(v) => setColorScheme(v as 'light' | 'dark' | 'auto')} data={(['light', 'dark', 'auto'] as const).map((v) => ({ value: v, label: t(`settings.theme.${v}`) }))} />
            </Stack>
            <Stack gap={6}>
              <Text size="sm" fw={500}>
                {t('settings.language')}
              </Text>
              <SegmentedControl aria-label={t('settings.language')} value={i18n.resolvedLanguage ?? 'en'} onChange={setLanguage} data={languages} />
            </Stack>
          </Group>
        </Panel>
        <Panel title={t('settings.endpoints')}>
          {[
            ['OpenAI', `${site.public_url}/v1`],
            ['Anthropic', site.public_url],
            ['Gemini', `${site.public_url}/v1beta`],
          ].map(([name, url]) => (
            <Group key={name} justify="space-between" wrap="nowrap" gap="sm">
              <Text size="sm" c="dimmed" w={90}>
                {name}
              </Text>
              <Text size="sm" ff="monospace" flex={1} style={{ overflowWrap: 'anywhere' }}>
                {url}
              </Text>
              <Copy value={url ?? ''} />
            </Group>
          ))}
          {user?.client_id ? (
            <Button component={Link} to="/console/api-keys" variant="default" style={{ alignSelf: 'flex-start' }}>
              {t('nav.apiKeys')}
            </Button>
          ) : null}
        </Panel>
        {user?.client_id ? <ProfileForm /> : null}
        {user?.client_id ? <Members /> : null}
        <Password />
        <Sessions />
      </Stack>
    </>
  );
}

function ProfileForm() {
  const { t } = useTranslation();
  const path = '/openapi/v1/client/profile';
  const profile = useGet<Profile>(path);
  const [draft, setDraft] = useState<Partial<Profile>>({});
  const save = useChange((d: Partial<Profile>) => patch<Profile>(path, d), [path], () => t('settings.saved'), fields.map(([name]) => name));
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(draft, { onSuccess: () => setDraft({}) });
  };
  return (
    <Panel title={t('settings.profile')}>
      {profile.error ? (
        <Broken error={profile.error} />
      ) : profile.data === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit}>
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {fields.map(([name, label]) => (
              <TextInput
                key={name}
                label={t(label)}
                description={name === 'country' ? t('settings.countryHint') : undefined}
                value={draft[name] ?? profile.data[name]}
                error={at(save.error, name)}
                onChange={(e) => {
                  const { value } = e.currentTarget;
                  setDraft((d) => ({ ...d, [name]: value }));
                }}
              />
            ))}
          </SimpleGrid>
          <Group justify="flex-end" mt="md">
            <Button type="submit" loading={save.isPending} disabled={Object.keys(draft).length === 0}>
              {t('common.save')}
            </Button>
          </Group>
        </form>
      )}
    </Panel>
  );
}

function Password() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const { user } = useVisitor();
  const [old, setOld] = useState('');
  const [next, setNext] = useState('');
  const change = useMutation({
    mutationFn: () => put<Visitor>('/console/api/password', { old_password: old, new_password: next }),
    onSuccess: (visitor) => {
      client.setQueryData(visitorKey, visitor);
      setOld('');
      setNext('');
      notifications.show({ message: t('settings.changed'), color: 'teal' });
    },
    onError: (error) => at(error, 'old_password', 'new_password') ?? notifications.show({ message: error.message, color: 'red' }),
  });
  const submit = (e: FormEvent) => {
    e.preventDefault();
    change.mutate();
  };
  return (
    <Panel title={t('settings.password')}>
      <form onSubmit={submit}>
        <input type="text" name="username" autoComplete="username" value={user?.email ?? ''} readOnly hidden />
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <PasswordInput visibilityToggleButtonProps={{ 'aria-label': t('signIn.show') }} label={t('settings.oldPassword')} autoComplete="current-password" required value={old} onChange={(e) => setOld(e.currentTarget.value)} error={at(change.error, 'old_password')} />
          <PasswordInput visibilityToggleButtonProps={{ 'aria-label': t('signIn.show') }} label={t('settings.newPassword')} placeholder={t('settings.newPasswordHint')} autoComplete="new-password" required minLength={10} value={next} onChange={(e) => setNext(e.currentTarget.value)} error={at(change.error, 'new_password')} />
        </SimpleGrid>
        <Group justify="flex-end" mt="md">
          <Button type="submit" variant="default" loading={change.isPending}>
            {t('settings.change')}
          </Button>
        </Group>
      </form>
    </Panel>
  );
}
