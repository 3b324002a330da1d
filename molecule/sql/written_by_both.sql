-- The post of the new application as the old schema tells it.
SELECT audio_url, audio_filename FROM public.posts WHERE content = 'A post of the new application'
